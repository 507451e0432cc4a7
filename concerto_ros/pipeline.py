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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.errors import BackendUnavailable, FrameError
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.gravity import GravityCheck
from concerto_ros.geometry.pose_path import PosePath
from concerto_ros.geometry.rgbd import SurfacePoints, surface_points
from concerto_ros.geometry.transforms import invert
from concerto_ros.mapping import CellLayout, VoxelMap
from concerto_ros.mapping.fitting import lies_on
from concerto_ros.mapping.free_space import clear
from concerto_ros.mapping.submaps import Submaps
from concerto_ros.mapping.voxel_keys import CHUNK_SHIFT
from concerto_ros.mapping.voxel_reading import Groups
from concerto_ros.model import FeaturePyramid
from concerto_ros.search.object_search import ObjectSearch
from concerto_ros.search.regions import Region
from concerto_ros.search.registry import ObjectRegistry
from concerto_ros.semantic_map.cloud_reader import CloudReader
from concerto_ros.semantic_map.feed import MapFeed, as_changes
from concerto_ros.semantic_map.header import MapHeader
from concerto_ros.semantic_map.labeler import Labeler
from concerto_ros.semantic_map.labelled_map import LabelledMap
from concerto_ros.semantic_map.network_input import Window, voxels_per_cell
from concerto_ros.semantic_map.paging import Paging
from concerto_ros.semantic_map.query import Elsewhere, begin_search
from concerto_ros.semantic_map.resume import adopt, compare, describe, take_vocabulary
from concerto_ros.semantic_map.trained_weights import TrainedWeights
from concerto_ros.semantic_map.window_choice import WindowChoice
from concerto_ros.semantic_map.world import World
from concerto_ros.semantics import Translator
from concerto_ros.storage import MapFolder, MapInfo
from concerto_ros.structures import Labels, MapChanges, MapCloud, SearchResult

Matrix = NDArray[np.float64]
_log = logging.getLogger(__name__)

_REST = 2  # one of so many frames looks through the submaps beside its own, too


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameReport:
    """What became of a frame.

    Attributes:
        num_points: Measured points that were fused.
        num_new_voxels: Voxels that did not exist before.
        num_removed_voxels: Voxels that the camera has seen through too often.
        seconds: Time per stage [s].
        warning: A sentence for people, once per map; empty otherwise.
    """

    num_points: int
    num_new_voxels: int
    num_removed_voxels: int
    seconds: dict[str, float]
    warning: str = ''


class PerceptionPipeline:
    """One map and everything that is known about it; used by one thread at a time.

    Frames are fused in a continuous frame, "odom" from here on. Everything is told in the world:
    that is the same frame until `correct` or `correct_path` says how it drifts.

    Attributes:
        config: All settings; see `update_config`.
        epoch: Rises when the map is reset or another one is loaded.
        newest_stamp_ns: Time of the newest image in the map [ns]; 0 while it is empty.
        notices: Sentences for people about what was loaded.
        folder: That holds the map as it was when it was loaded; None: it is in no folder.

    Args:
        config: All settings.

    Raises:
        ConcertoError: Weights cannot be loaded or do not fit, or there is no such device.
    """

    def __init__(self, config: ConcertoConfig) -> None:
        self.config = config
        self.epoch = 0
        self._device = _device(config.map.device)
        semantics = config.semantics
        weights = TrainedWeights.load(semantics, self._device) if semantics.checkpoint else None
        self._labeler = Labeler(weights, self._device)
        self.notices = self._labeler.notices
        _compare_voxels(config.map.voxel_size, weights.voxel_size if weights else None)
        self._start(revision=0)

    def _start(self, revision: int, saved: MapHeader | None = None) -> None:
        """Begin an empty map; for one that was saved, without its chunks."""
        config = self.config.map
        self.epoch += 1
        self.newest_stamp_ns = 0
        self._turns: Counter[str] = Counter()
        self._labelled = LabelledMap(
            config.voxel_size,
            self._labeler,
            self._device,
            config.max_bytes,
            revision,
            saved.start_ns if saved else None,
        )
        self._map = self._labelled.voxels
        self._paging = Paging(self._labelled, config.max_bytes)
        layout = self._map.cells.layout if self._map.cells else CellLayout()
        self._submaps = Submaps(
            config.voxel_size,
            layout.voxels_per_cell,
            radius=config.submap_radius,
            height=config.submap_height,
            saved=saved.submaps if saved else (),
        )
        self._is_corrected = saved is not None  # later frames may have drifted from it
        self._camera = (0, np.zeros(3))  # its submap and position there
        self._choice: WindowChoice | None = None
        if self._map.cells:
            self._choice = WindowChoice(
                self._labelled,
                self._paging,
                self._submaps,
                self.config.semantics,
                saved.leveled if saved else (),
            )
        self.folder: MapFolder | None = None
        self._gravity = GravityCheck()
        self._registry = ObjectRegistry()
        self._search = self._object_search()

    def _object_search(self) -> ObjectSearch:
        return ObjectSearch(self.config.search, self._registry, self._labeler.fitted_min_score)

    def close(self) -> None:
        """Delete what lies on the disk while the map is in use."""
        self._paging.close()

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
        return len(self._map) + self._paging.num_voxels

    @property
    def num_resident(self) -> int:
        """Those of them that are in memory."""
        return len(self._map)

    @property
    def num_submaps(self) -> int:
        """Parts of the map that are rigid in themselves."""
        return len(self._submaps)

    @property
    def memory(self) -> dict[str, int]:
        """Memory of the map by layer [bytes], with what freed voxels have left."""
        return self._labelled.num_bytes

    @property
    def paged_bytes(self) -> int:
        """What of the map lies on the disk [bytes]."""
        return self._paging.num_bytes

    def update_config(self, config: ConcertoConfig) -> None:
        """Take over what may change at run time; the rest of `config` must be as it was."""
        self.config = config
        self._search = self._object_search()

    def reset(self) -> None:
        """Forget the map, but no weights."""
        self.close()
        self._start(self.revision + 1)

    def load(self, path: str | Path) -> str:
        """Go on with a map that `MapSaver` wrote, in place of the one that there is.

        Frames are fused into what was saved only where they fit it, see `correct`. Its
        vocabulary is taken, unless semantics.vocabulary says another one.

        Args:
            path: Its folder, which stays as it is.

        Returns:
            A sentence for people; empty: there is nothing to tell.

        Raises:
            MapFileError: There is no map, a file is missing or damaged, or the map was made with
                other voxels or with a network where there is none now; the map that there is
                stays. Or the disk is full; the map is then empty.
        """
        folder = MapFolder.open(path)
        header = MapHeader.read(folder.info)
        notice = compare(folder, header, self._labeler, self.config.map.voxel_size)
        folder.verify()
        self.close()
        self._start(max(self.revision, header.revision) + 1, header)
        renamed = take_vocabulary(folder, self._labeler, self.config.semantics)
        try:
            adopt(folder, header, self._paging, is_known=not notice)
            self._paging.bring_newest(self.config.semantics)
        except BaseException:
            self.reset()
            raise
        self.folder = None if notice else folder
        self.newest_stamp_ns = folder.info.last_seen_ns
        return '; '.join(filter(None, (notice, renamed)))

    def describe(self, frame_id: str) -> tuple[MapInfo, dict[int, int]]:
        """Return what is to be saved beside the chunks, and the revision of each of these.

        Args:
            frame_id: Name of the world.
        """
        return describe(
            self._labelled,
            self._paging,
            self._submaps,
            frozenset(self._choice.leveled if self._choice else ()),
            config=self.config,
            frame_id=frame_id,
            newest_stamp_ns=self.newest_stamp_ns,
        )

    def record(self, chunk_key: int) -> Mapping[str, torch.Tensor]:
        """Return all that there is of a chunk, on the CPU; it stays as it is.

        Raises:
            KeyError: There is no such chunk.
            MapFileError: It lies on the disk, and is gone or damaged.
        """
        if chunk_key in self._paging.keys:
            return self._paging.read(chunk_key)
        return self._labelled.record(chunk_key)

    @property
    def layout(self) -> tuple[object, ...]:
        """By what chunks are read; a change in what there was makes them unfit for older ones.

        The vocabulary, and per submap where its anchor lies in it.
        """
        anchors = (self._submaps[i].T_submap_camera.tobytes() for i in range(len(self._submaps)))
        return (self._labeler.vocabulary, *anchors)

    @property
    def translator(self) -> Translator | None:
        """From features to the space of texts."""
        return self._labeler.language.translator if self._labeler.language else None

    def integrate(self, frame: RGBDFrame, *, camera: str = '', leads: bool = True) -> FrameReport:
        """Fuse one frame into the map.

        Args:
            frame: Of any camera.
            camera: Its name; each has its own turns of pixels and blocks.
            leads: Whether it is of the camera whose path is followed; always the same one.

        Raises:
            FrameError: It has no usable depth, or it does not lead and no frame that does has
                come since the map began or was corrected; the map is untouched.
            MapFileError: A chunk on the disk is gone or damaged, or the disk is full.
        """
        start = time.perf_counter()
        turn = self._turns[camera]
        measured = surface_points(frame, self.config.depth, turn, self._device)
        submap, T_submap_odom = self._place(frame, measured, leads)
        points = measured.moved(T_submap_odom)
        middle = time.perf_counter()
        config = self.config
        self._paging.bring(self._map.chunks_of(points.coord, submap).tolist(), config.semantics)
        brought = time.perf_counter()
        num_new = self._map.integrate(points, frame.stamp_ns, config.map.max_weight, submap)
        fused = time.perf_counter()
        num_removed = self._clear(frame, submap, T_submap_odom, turn)
        num_removed += self._clear_beside(frame, measured, submap, turn)
        cleared = time.perf_counter()
        self._paging.make_room()
        end = time.perf_counter()
        self._turns[camera] += 1
        self.newest_stamp_ns = max(self.newest_stamp_ns, frame.stamp_ns)
        self._camera = submap, (T_submap_odom @ frame.T_map_depth)[:3, 3]
        return FrameReport(
            num_points=len(points),
            num_new_voxels=num_new,
            num_removed_voxels=num_removed,
            seconds={
                'points': middle - start,
                'fusion': fused - brought,
                'clearing': cleared - fused,
                'paging': end - cleared + brought - middle,
            },
            warning=self._gravity.add(points.normal, frame.T_map_depth),
        )

    def correct(self, T_map_odom: Matrix) -> bool:
        """Take where the continuous frame is in the map; see `Submaps.correct`.

        Args:
            T_map_odom: (4, 4), from the frame in which frames are fused.

        Returns:
            Whether anything moved.

        Raises:
            ValueError: It is no rigid transform.
        """
        self._is_corrected = True
        return self._moved(self._submaps.correct(T_map_odom))

    def correct_path(self, path: PosePath, T_body_camera: Matrix) -> bool:
        """Take the path of a pose graph; see `Submaps.correct_path`.

        Returns:
            Whether anything moved.
        """
        self._is_corrected = True
        return self._moved(self._submaps.correct_path(path, T_body_camera))

    def _moved(self, submaps: Sequence[int]) -> bool:
        """Note that submaps were moved, if any."""
        self._map.revision += bool(submaps)
        return bool(submaps)

    def update_semantics(self) -> int:
        """Have the network look at all that changed enough since it looked last.

        Returns:
            Number of voxels that it looked at; 0: nothing to do, or no weights.
        """
        total = 0
        while (window := self.begin_semantics()) is not None:
            total += len(window.voxel_key)
            self.finish_semantics(window, self.run_semantics(window))
        return total

    def begin_semantics(self) -> Window | None:
        """Read from the map what the network should look at next.

        Returns:
            None: nothing has changed enough, or there are no weights.

        Raises:
            MapFileError: A chunk on the disk is gone or damaged.
        """
        if self._choice is None or self.num_voxels == 0:
            return None
        return self._choice.next(self._camera, self.config.semantics)

    def run_semantics(self, window: Window) -> list[FeaturePyramid]:
        """Let the network look at a window; any thread may do this while the map goes on.

        Raises:
            ConcertoError: Features overflow in half precision.
        """
        start = time.perf_counter()
        pyramids = self._labeler.run(window, self.config.semantics)
        if self._choice:
            seconds = time.perf_counter() - start
            self._choice.points_per_second = len(window.voxel_key) / seconds
        return pyramids

    def finish_semantics(self, window: Window, pyramids: Sequence[FeaturePyramid]) -> None:
        """Write to the map what the network has made of a window of it.

        Raises:
            MapFileError: A chunk that went to the disk meanwhile is gone or damaged.
        """
        self._bring_window(window)
        self._labeler.write(window, pyramids, self.config.semantics)
        self._paging.make_room()

    def give_up_semantics(self, window: Window) -> None:
        """Have the network look at a window again some time, because nothing came of it.

        Raises:
            MapFileError: A chunk that went to the disk meanwhile is gone or damaged.
        """
        self._bring_window(window)
        self._map.mark_unseen(window.voxel_key)
        self._paging.make_room()

    def _bring_window(self, window: Window) -> None:
        """Take back what went to the disk while the network looked at it."""
        chunk_key = torch.unique(window.voxel_key >> CHUNK_SHIFT)
        self._paging.bring(chunk_key.tolist(), self.config.semantics)

    def num_language_labels(self) -> tuple[int, int]:
        """Return how many points in memory have a language label, and how many there are."""
        rows = self._map.surface_rows()
        label, _ = self._map.labels(rows)
        return int(label[:, 1].count_nonzero()), len(rows)

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
        self._labeler.relabel(names, self.config.semantics)
        return self.language_labels

    def search(
        self,
        text: str,
        *,
        region: Region | None = None,
        max_results: int = 0,
        min_score: float = 0.0,
    ) -> SearchResult:
        """Find what a text describes, in the world.

        Args:
            text: For example 'blue chair'.
            region: Lower and upper corner (3,) [m] of where to look; None: everywhere.
            max_results: At most this many objects; 0: as configured.
            min_score: Least score, 0..1; 0: as configured.

        Raises:
            SearchError: The text is empty, the region is not valid, there is no language model,
                or it does not know the text.
            MapFileError: A chunk on the disk is gone or damaged.
        """
        search = self.begin_search(text, region=region, min_score=min_score)
        return search(max_results=max_results, min_score=min_score)

    def begin_search(
        self, text: str, *, region: Region | None = None, min_score: float = 0.0
    ) -> Callable[..., SearchResult]:
        """Take from the map what a search needs, so that another thread can do the rest.

        The cost grows with what is in memory and with what scores high in the region.

        Args:
            text: For example 'blue chair'.
            region: As in `search`.
            min_score: Least one that the function will be called with, as in `search`.

        Returns:
            Function of `max_results` and `min_score`, both named and 0 if not given, that ends
            the search and raises as `search` does. No two may run at a time.

        Raises:
            SearchError: As for `search`.
        """
        return begin_search(
            self._labelled,
            Elsewhere(
                self._paging.keys, partial(self._paging.parts, config=self.config.semantics)
            ),
            self._world(),
            self._search,
            text,
            region=region,
            min_score=min_score,
        )

    def read(self, texts: Sequence[str]) -> None:
        """Have the language model read texts, which it remembers until they are asked for.

        Reading is the slow part of a first question; this one method may be called by any thread
        at any time.

        Raises:
            SearchError: There is no language model, or it does not know a text.
        """
        self._labeler.read_texts(texts)

    def cloud(self) -> MapCloud:
        """Return the thin surface in the world.

        Raises:
            MapFileError: A chunk on the disk is gone or damaged.
        """
        return self.read_cloud().read(lambda job: job())

    def changes(self, since: int) -> MapChanges:
        """Return the groups that changed after revision `since` (0: all that are in memory)."""
        return self._describe(self.epoch, self._map, self._map.changed_groups(since))

    def read_cloud(self) -> CloudReader:
        """Begin to read what `cloud` returns, so that the map can go on in between."""
        return CloudReader(self._labelled, self._paging, self._world(), self.config.semantics)

    def feed(self) -> MapFeed:
        """Begin to tell somebody all of this map and its changes; a reset ends it."""
        return MapFeed(self._labelled, self._paging, partial(self._describe, self.epoch))

    def _describe(self, epoch: int, voxels: VoxelMap, groups: Groups) -> MapChanges:
        return as_changes(
            voxels,
            groups,
            epoch=epoch,
            revision=self.revision,
            stamp_ns=self.newest_stamp_ns,
            T_world_submap=self._submaps.poses,
        )

    def _world(self) -> World:
        return World(self._submaps.poses, self._map.voxel_size)

    def _place(self, frame: RGBDFrame, measured: SurfacePoints, leads: bool) -> tuple[int, Matrix]:
        """Choose the submap of a frame; return its id and T_submap_odom.

        Args:
            frame: In the frame of the fusion.
            measured: Its points, there.
            leads: As of `integrate`.
        """
        if leads:
            T_camera_odom = invert(frame.T_map_depth)
            submap, _ = self._submaps.locate(
                frame.T_map_depth,
                frame.stamp_ns,
                lambda old, T_old_camera: self._fits(measured, old, T_old_camera @ T_camera_odom),
            )
        elif self._submaps.active is None:
            raise FrameError(
                'the leading camera, the first of input.cameras, has sent nothing yet, so there '
                'is no place for this frame: check the topics of that camera'
            )
        else:
            submap = self._submaps.active
        return submap, invert(self._submaps.T_odom_active)

    def _fits(self, measured: SurfacePoints, submap: int, T_submap_odom: Matrix) -> bool:
        """Tell whether what a frame has measured lies on the surface of a submap."""
        if not self._is_corrected:  # nobody will tell of drift, so one map is all there is
            return True
        there = measured.moved(T_submap_odom)
        key = self._map.chunks_of(there.coord, submap)
        self._paging.bring(key.tolist(), self.config.semantics)
        is_held = partial(self._map.holds, submap=submap)
        return lies_on(there.coord, there.normal, is_held, self._map.voxel_size)

    def _clear(self, frame: RGBDFrame, submap: int, T_submap_odom: Matrix, turn: int) -> int:
        """Remove what a frame has seen through too often; return how many voxels."""
        there = dataclasses.replace(frame, T_map_depth=T_submap_odom @ frame.T_map_depth)
        max_misses = self.config.map.max_misses
        return clear(
            self._map, there, self.config.depth, submap=submap, turn=turn, max_misses=max_misses
        )

    def _clear_beside(
        self, frame: RGBDFrame, measured: SurfacePoints, active: int, turn: int
    ) -> int:
        """Remove what a frame has seen through in another submap around it, in each by turns."""
        config = self.config
        reach = config.map.submap_radius + config.depth.max
        near = [s for s in self._submaps.near(frame.T_map_depth, reach) if s != active]
        turn, is_off = divmod(turn, _REST)
        if is_off or not near or config.map.max_misses == 0:
            return 0
        submap = near[turn % len(near)]
        T_submap_odom = invert(self._submaps[submap].T_world_submap) @ self._submaps.T_world_odom
        if not self._fits(measured, submap, T_submap_odom):
            return 0
        return self._clear(frame, submap, T_submap_odom, turn // len(near))


def _compare_voxels(voxel_size: float, trained: float | None) -> None:
    """Warn if the network cannot see voxels of the size that it was trained on."""
    if voxels_per_cell(voxel_size, trained) is None:
        _log.warning(
            'map.voxel_size is %g m, but semantics.checkpoint was trained on voxels of %g m, so '
            'labels will be worse than they could be: set map.voxel_size to %g, or to a half or a '
            'quarter of it',
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
