"""PerceptionPipeline: RGB-D frames in, a labelled map and answers out. The whole method, no ROS.

pipeline = PerceptionPipeline(ConcertoConfig())
for frame in source:
    pipeline.integrate(frame)
pipeline.update_semantics()
result = pipeline.search('blue chair')
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import flatten
from concerto_ros.errors import BackendUnavailable
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.gravity import GravityCheck
from concerto_ros.geometry.rgbd import surface_points
from concerto_ros.labeler import Labeler
from concerto_ros.mapping import GROUP_VOXELS, VoxelMap
from concerto_ros.network_input import voxels_per_cell
from concerto_ros.search.object_search import ObjectSearch, SearchPoints, check_query
from concerto_ros.search.regions import Region
from concerto_ros.search.registry import ObjectRegistry
from concerto_ros.storage import SavedMap
from concerto_ros.structures import Labels, MapChanges, MapCloud, SearchResult

Matrix = NDArray[np.float64]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameReport:
    """What became of a frame.

    Attributes:
        num_points: Measured points that were fused.
        num_new_voxels: Voxels that did not exist before.
        seconds: Time per stage [s].
        warning: A sentence for people, once per map; empty otherwise.
    """

    num_points: int
    num_new_voxels: int
    seconds: dict[str, float]
    warning: str = ''


class PerceptionPipeline:
    """One map and everything that is known about it; used by one thread at a time.

    Attributes:
        config: All settings; see `update_config`.
        epoch: Rises when the map is reset.
        newest_stamp_ns: Time of the newest image in the map [ns]; 0 while it is empty.
        notices: Sentences for people about what was loaded.

    Args:
        config: All settings.

    Raises:
        ConcertoError: Weights cannot be loaded or do not fit, or there is no such device.
    """

    def __init__(self, config: ConcertoConfig) -> None:
        self.config = config
        self.epoch = 0
        self._device = _device(config.map.device)
        self._labeler = Labeler(config.semantics, self._device)
        self.notices = self._labeler.notices
        _compare_voxels(config.map.voxel_size, self._labeler.voxel_size)
        self._start(revision=0)

    def _start(self, revision: int) -> None:
        """Begin an empty map."""
        voxel_size = self.config.map.voxel_size
        self.epoch += 1
        self.newest_stamp_ns = 0
        self._num_frames = self._num_labelled = 0
        self._camera_position = np.zeros(3)
        self._map = VoxelMap(voxel_size, self._device, revision)
        self._gravity = GravityCheck()
        self._registry = ObjectRegistry()
        self._search = self._object_search()

    def _object_search(self) -> ObjectSearch:
        return ObjectSearch(self.config.search, self._registry, self._labeler.fitted_min_score)

    @property
    def labels(self) -> Labels:
        """What the semantic label ids in the map mean."""
        return self._labeler.labels

    @property
    def language_labels(self) -> Labels:
        """What the language label ids in the map mean."""
        return self._labeler.language_labels

    @property
    def revision(self) -> int:
        """Rises with every change of the map and never falls."""
        return self._map.revision

    @property
    def num_voxels(self) -> int:
        """Voxels in which something was measured; `cloud` has only those on the thin surface."""
        return len(self._map)

    @property
    def memory_bytes(self) -> int:
        """Memory of the map, with the room that is kept for growth."""
        return self._map.num_bytes

    def update_config(self, config: ConcertoConfig) -> None:
        """Take over what may change at run time; the rest of `config` must be as it was."""
        self.config = config
        self._search = self._object_search()

    def reset(self) -> None:
        """Forget the map, but no weights."""
        self._labeler.forget()
        self._start(self.revision + 1)

    def integrate(self, frame: RGBDFrame) -> FrameReport:
        """Fuse one frame into the map.

        Raises:
            FrameError: It has no usable depth; the map is untouched.
        """
        start = time.perf_counter()
        points = surface_points(frame, self.config.depth, self._num_frames, self._device)
        middle = time.perf_counter()
        num_new = self._map.integrate(points, frame.stamp_ns, self.config.map.max_weight)
        end = time.perf_counter()
        self._num_frames += 1
        self.newest_stamp_ns = max(self.newest_stamp_ns, frame.stamp_ns)
        self._camera_position = frame.T_map_depth[:3, 3]
        return FrameReport(
            num_points=len(points),
            num_new_voxels=num_new,
            seconds={'points': middle - start, 'fusion': end - middle},
            warning=self._gravity.add(points.normal, frame.T_map_depth),
        )

    def update_semantics(self) -> int:
        """Label the map, or the part nearest to the camera, if frames came since the last time.

        Returns:
            Number of voxels that the network looked at; 0: nothing to do, or no weights.
        """
        if not self._labeler.has_network or self._num_labelled == self._num_frames:
            return 0
        rows = self._map.nearest_rows(
            torch.from_numpy(self._camera_position), self.config.semantics.max_points
        )
        self._labeler.label(self._map, rows, self.config.semantics)
        self._num_labelled = self._num_frames
        return len(rows)

    def num_language_labels(self) -> tuple[int, int]:
        """Return how many points of the map have a language label, and how many there are."""
        return self._map.num_labelled(column=1)

    def relabel(self, names: Sequence[str]) -> Labels:
        """Give the map other language labels, at once and without running the network again.

        What the network has not looked at yet stays unknown.

        Args:
            names: The new vocabulary; of what is there, each name once.

        Returns:
            What the language label ids mean from now on.

        Raises:
            SearchError: There is no language model, it does not know a name, or the list is
                empty or names a thing twice; the old vocabulary stays.
        """
        self._labeler.relabel(self._map, names, self.config.semantics)
        return self.language_labels

    def search(
        self,
        text: str,
        *,
        T_map_fusion: Matrix | None = None,
        region: Region | None = None,
        max_results: int = 0,
        min_score: float = 0.0,
    ) -> SearchResult:
        """Find what a text describes.

        Args:
            text: For example 'blue chair'.
            T_map_fusion: (4, 4), from the frame in which frames were fused to the frame of
                `region` and of the answer; None: they are the same.
            region: Lower and upper corner (3,) [m] of where to look; None: everywhere.
            max_results: At most this many objects; 0: as configured.
            min_score: Least score, 0..1; 0: as configured.

        Raises:
            SearchError: The text is empty, the region is not valid, there is no language model,
                or it does not know the text.
        """
        search = self.begin_search(text, T_map_fusion, region=region, min_score=min_score)
        return search(max_results=max_results, min_score=min_score)

    def begin_search(
        self,
        text: str,
        T_map_fusion: Matrix | None = None,
        *,
        region: Region | None = None,
        min_score: float = 0.0,
    ) -> Callable[..., SearchResult]:
        """Take from the map what a search needs, so that another thread can do the rest.

        The cost grows with what the network has looked at and with what scores high in the
        region.

        Args:
            text: For example 'blue chair'.
            T_map_fusion: (4, 4) as in `search`.
            region: As in `search`.
            min_score: Least one that the function will be called with, as in `search`.

        Returns:
            Function of `max_results` and `min_score`, both named and 0 if not given, that ends
            the search and raises as `search` does. It needs the map no more; no two may run at a
            time.

        Raises:
            SearchError: As for `search`.
        """
        text = check_query(text)
        looked_at, score = self._labeler.scores(text)
        is_surface = self._map.is_surface()
        still_there = is_surface[looked_at]
        rows, scores = looked_at[still_there], score[still_there].cpu().numpy()

        def coord(some: NDArray[np.intp]) -> NDArray[np.float32]:
            return _moved_points(self._map.coord(rows[some]).cpu().numpy(), T_map_fusion)

        chosen = self._search.choose(
            scores, coord, int(is_surface.sum()), region=region, min_score=min_score
        )
        points = self._search_points(rows[chosen.rows], T_map_fusion)
        search = partial(self._search.find, points, chosen, text)
        text_encoder = self._labeler.text_encoder
        return lambda **limits: dataclasses.replace(search(**limits), text_encoder=text_encoder)

    def read(self, texts: Sequence[str]) -> None:
        """Have the language model read texts, which it remembers until they are asked for.

        Reading is the slow part of a first question; this one method may be called by any thread
        at any time.

        Raises:
            SearchError: There is no language model, or it does not know a text.
        """
        self._labeler.read(texts)

    def cloud(self, T_map_fusion: Matrix | None = None) -> MapCloud:
        """Return the thin surface, in the frame that `T_map_fusion` (4, 4) leads to."""
        return _moved(self._map.cloud(self._map.surface_rows()), T_map_fusion)

    def saved_map(self, frame_id: str, T_map_fusion: Matrix | None = None) -> SavedMap:
        """Return what a search needs of the map, to be written to a file.

        Args:
            frame_id: Name of the frame that `T_map_fusion` leads to.
            T_map_fusion: (4, 4); None: the frame of the fusion.
        """
        rows = self._map.surface_rows()
        cloud = _moved(self._map.cloud(rows), T_map_fusion)
        settings = {p.name: p.value for p in flatten(self.config)}
        settings['semantics.translator'] = self._labeler.translator_file
        return SavedMap(
            points=self._search_points(rows, T_map_fusion),
            color=cloud.color,
            normal=cloud.normal.astype(np.float16),
            frame_id=frame_id,
            features=self._labeler.map_features(rows, len(self._map)),
            settings=settings,
        )

    def changes(self, since: int) -> MapChanges:
        """Return the groups that changed after revision `since` (0: all), in the fusion frame."""
        groups = self._map.changed_groups(since)  # may raise the revision
        return MapChanges(
            epoch=self.epoch,
            revision=self.revision,
            stamp_ns=self.newest_stamp_ns,
            group_size=GROUP_VOXELS * self._map.voxel_size,
            voxel_size=self._map.voxel_size,
            key=groups.key.cpu().numpy().astype(np.int32),
            sequence=groups.revision.cpu().numpy().astype(np.uint64),
            num_points=groups.num_rows.cpu().numpy().astype(np.uint32),
            cloud=self._map.cloud(groups.rows),
        )

    def _search_points(self, rows: Tensor, T_map_fusion: Matrix | None) -> SearchPoints:
        cloud = _moved(self._map.cloud(rows), T_map_fusion)
        num_views, seen_ns = self._map.observations(rows)
        has_vocabulary = len(self.language_labels.names) > 1
        return SearchPoints(
            coord=cloud.coord,
            grid_coord=self._map.grid_coord(rows).cpu().numpy(),
            num_views=num_views,
            first_seen_ns=seen_ns[:, 0],
            last_seen_ns=seen_ns[:, 1],
            label=cloud.language_label if has_vocabulary else cloud.label,
            names=self.language_labels.names if has_vocabulary else self.labels.names,
            voxel_size=self._map.voxel_size,
        )


def _moved(cloud: MapCloud, T: Matrix | None) -> MapCloud:
    if T is None:
        return cloud
    return dataclasses.replace(
        cloud,
        coord=_moved_points(cloud.coord, T),
        normal=(cloud.normal @ T[:3, :3].T).astype(np.float32),
    )


def _moved_points(coord: NDArray[np.float32], T: Matrix | None) -> NDArray[np.float32]:
    if T is None:
        return coord
    moved: NDArray[np.float32] = (coord @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    return moved


def _compare_voxels(voxel_size: float, trained: float | None) -> None:
    """Warn if the network cannot see voxels of the size that it was trained on."""
    if voxels_per_cell(voxel_size, trained) is None:
        _log.warning(
            'map.voxel_size is %g m, but semantics.checkpoint was trained on voxels of %g m, so '
            'labels will be worse than they could be: set map.voxel_size to %g or an n-th of it',
            voxel_size, trained, trained,
        )  # fmt: skip


def _device(name: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if name == 'auto':
        return torch.device('cuda' if has_cuda else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as err:
        raise BackendUnavailable(
            f'parameter map.device is "{name}", but torch {torch.__version__} finds '
            f'{torch.cuda.device_count()} CUDA devices here; use auto or cpu'
        ) from err
    return device
