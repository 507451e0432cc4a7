"""Values that cross module borders: point clouds of the map, and what a search finds in them."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 0  # id of the label "unknown"; classes count from 1

Verdict = Literal['found', 'absent', 'unobserved']


@dataclass(frozen=True, slots=True, kw_only=True)
class MapCloud:
    """The points of a map or of a part of it, one per voxel, in one frame.

    Attributes:
        coord: (N, 3) float32 [m], mean of what was measured in the voxel.
        color: (N, 3) uint8 RGB.
        normal: (N, 3) float32 unit vectors towards the cameras; zero where unknown.
        label: (N,) uint16 class id; 0 is unknown.
        confidence: (N,) float32 in 0..1, of `label`.
        language_label: (N,) uint16 id in the open vocabulary; 0 is unknown.
        language_confidence: (N,) float32 in 0..1, of `language_label`.
    """

    coord: NDArray[np.float32]
    color: NDArray[np.uint8]
    normal: NDArray[np.float32]
    label: NDArray[np.uint16]
    confidence: NDArray[np.float32]
    language_label: NDArray[np.uint16]
    language_confidence: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.coord)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Names and colours of the ids in a label field; id 0 is always "unknown".

    Attributes:
        vocabulary: Where the names come from; empty while no trained weights are loaded.
        names: Name of each id, so `names[0]` is "unknown".
        colors: (len(names), 3) uint8 RGB.
    """

    vocabulary: str
    names: tuple[str, ...]
    colors: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box that may be turned about the vertical.

    Attributes:
        center: (3,) float64 [m].
        size: (3,) float64 [m], full edge lengths along the box's own axes.
        yaw: Rotation about +z [rad].
    """

    center: NDArray[np.float64]
    size: NDArray[np.float64]
    yaw: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectHit:
    """One object found by a text query, in the frame of the map.

    Attributes:
        id: Stable name within one map.
        label: Best name in the current vocabulary, else the query.
        score: 0..1.
        center: (3,) float64 [m], on the object's surface.
        box: Oriented box around its points.
        num_points: Voxels of the object.
        num_views: Most images that measured one and the same of its voxels.
        first_seen_ns: Stamp of the first image that measured it [ns].
        last_seen_ns: Stamp of the newest one [ns].
    """

    id: str
    label: str
    score: float
    center: NDArray[np.float64]
    box: Box
    num_points: int
    num_views: int
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The answer to one text query.

    Attributes:
        verdict: Found, looked for and absent, or not yet observed.
        objects: Best first.
        observed_share: 0..1, share of the region's 10 cm columns that hold a surface which the
            network has looked at; without a region, the share of the map's voxels.
        calibrated: Scores are probabilities; False: they only rank.
        text_encoder: Name of the language model that read the text.
    """

    verdict: Verdict
    objects: tuple[ObjectHit, ...] = field(default=())
    observed_share: float = 0.0
    calibrated: bool = False
    text_encoder: str = ''


@dataclass(frozen=True, slots=True, kw_only=True)
class MapChanges:
    """The groups of a map that changed since an earlier revision, each in full.

    Attributes:
        epoch: Rises when the map is reset or another one loaded; groups of a lower one are gone.
        revision: Of the map now; the next changes are those since this one.
        stamp_ns: Time of the newest image in the map [ns]; 0 while it is empty.
        group_size: Edge length of a group [m].
        voxel_size: Edge length of a voxel [m].
        T_world_submap: (S, 4, 4) float64 of all submaps, as they are now.
        submap: (G,) uint16, in whose frame the group and its points are given.
        key: (G, 3) int32, cube [key, key + 1) * group_size in that frame.
        sequence: (G,) uint64, revision in which the group changed last.
        num_points: (G,) uint32, rows of `cloud`; 0 where the group is empty now.
        cloud: The points, group after group.
    """

    epoch: int
    revision: int
    stamp_ns: int
    group_size: float
    voxel_size: float
    T_world_submap: NDArray[np.float64]
    submap: NDArray[np.uint16]
    key: NDArray[np.int32]
    sequence: NDArray[np.uint64]
    num_points: NDArray[np.uint32]
    cloud: MapCloud
