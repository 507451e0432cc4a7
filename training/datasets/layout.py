"""The layout of data sets on disk, the one of the published preprocessed archives.

    ROOT/SPLIT/SCENE/coord.npy color.npy normal.npy [segment20.npy instance.npy ...]
    ROOT/images/SPLIT/SCENE/color/NAME.jpg (or .png)
    ROOT/images/SPLIT/SCENE/correspondence/NAME.npy
    ROOT/images/SPLIT/SCENE/intrinsic/NAME.npy pose/NAME.npy    (not needed for training)
    ROOT/splits/SPLIT.json

A split maps the name of each sample to {"pointclouds": folder, "images": files,
"correspondences": files}; several samples may share a cloud and differ in the images.

Example:
    with SceneWriter(root, 'train', 'kitchen') as writer:
        writer.write_cloud(coord, color, normal, {'segment20': segment})
        writer.write_image('000000', image, correspondence, intrinsic, T_map_camera)
    write_split(root, 'train', ['kitchen'])

Source: specification of Concerto, section 4.5.
"""

from training.datasets.folders import cloud_folder, image_folder, is_complete
from training.datasets.scene_writer import SceneWriter
from training.datasets.split_files import SampleFiles, read_split, write_split

__all__ = [
    'SampleFiles',
    'SceneWriter',
    'cloud_folder',
    'image_folder',
    'is_complete',
    'read_split',
    'write_split',
]
