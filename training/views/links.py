"""What happens to the links between points and images while points and images are chosen."""

import numpy as np
from numpy.typing import NDArray

from training.structures import Links
from training.views.crop import Planes, Rows


def voxel_links(links: Links, voxel: Rows, num_voxels: int, num_images: int) -> Links:
    """Give each voxel the mean patch of its points, image by image.

    Args:
        links: Of points.
        voxel: (N,) int64, voxel of each point.
        num_voxels: V.
        num_images: I.

    Returns:
        At most one link per voxel and image, sorted by voxel.
    """
    if not len(links):
        return links
    pair = voxel[links.point] * num_images + links.image
    count = np.bincount(pair, minlength=num_voxels * num_images)
    seen = np.flatnonzero(count)
    row, column = (np.bincount(pair, links.patch[:, axis])[seen] / count[seen] for axis in (0, 1))
    return Links(
        point=seen // num_images,
        image=seen % num_images,
        patch=np.stack([row, column], axis=1).astype(np.float32),
    )


def view_links(links: Links, rows: Rows, num_points: int) -> Links:
    """Keep the links of some of N points, numbered by their place in `rows`."""
    place = np.full(num_points, -1)
    place[rows] = np.arange(len(rows))
    point = place[links.point]
    kept = np.flatnonzero(point >= 0)
    return Links(point=point[kept], image=links.image[kept], patch=links.patch[kept])


def linked_images(links: Links) -> tuple[Rows, Links]:
    """Return the sorted numbers of the images that see a point, and links that count only them."""
    seen = np.flatnonzero(np.bincount(links.image))
    image = np.searchsorted(seen, links.image)
    return seen, Links(point=links.point, image=image, patch=links.patch)


def common_center(coord: Planes, links: Links, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return (3,) float32 [m], the mean of the points that most images see at once.

    With no link at all it is a random point.

    Args:
        coord: (3, N) float32 [m].
        links: At most one per point and image.
        rng: Draws the point.
    """
    if not len(links):
        return coord[:, rng.integers(coord.shape[1])]
    num_views = np.bincount(links.point)
    seen = np.flatnonzero(num_views == num_views.max())
    center: NDArray[np.float32] = coord.take(seen, axis=1).mean(axis=1)
    return center
