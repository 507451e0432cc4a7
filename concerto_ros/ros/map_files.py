"""MapFiles: the map on the disk of the robot, on request and by itself."""

import os
from concurrent.futures import Future as Answer
from concurrent.futures import TimeoutError as OutOfTime
from functools import partial
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future

from concerto_msgs.srv import LoadMap, SaveMap
from concerto_ros.errors import MapFileError
from concerto_ros.map_saver import MapSaver
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.ros.activity import Activity
from concerto_ros.ros.job_threads import JobThreads
from concerto_ros.ros.map_keeper import MapKeeper
from concerto_ros.ros.problems import Problems
from concerto_ros.ros.worker import LatestWorker
from concerto_ros.storage.folder_lock import LOCK
from concerto_ros.storage.manifest import CHUNKS, UNFINISHED, WEIGHTS
from concerto_ros.visualization.ply import write_ply

_MEGABYTE = 1e6
_WITHOUT_MAP = (CHUNKS, WEIGHTS, LOCK, UNFINISHED)  # what a folder may hold before a first save


class MapFiles:
    """Saves and loads maps one after another, on a thread of its own; frames go on meanwhile.

    A folder that was written stays locked for other writers, so that the next time only what
    changed is written.

    Args:
        node: Its executor delivers the answers; its logger takes what became of the last save.
        pipeline: Whose map it is.
        worker: The thread that owns the pipeline.
        keeper: Knows where the world is.
        problems: Where an autosave that fails is counted.
        activity: Where autosaves are noted.
    """

    def __init__(
        self,
        node: Node,
        pipeline: PerceptionPipeline,
        worker: LatestWorker,
        keeper: MapKeeper,
        problems: Problems,
        activity: Activity,
    ) -> None:
        self._logger = node.get_logger()
        self._pipeline = pipeline
        self._worker = worker
        self._keeper = keeper
        self._problems = problems
        self._activity = activity
        self._savers: dict[Path, MapSaver] = {}
        self._thread = JobThreads(node, 'files')
        self._saved = (0, 0)
        self._is_saving = False
        config = pipeline.config.map
        self._autosave_path = path = (
            full_path(config.autosave_path) if config.autosave_path else None
        )
        if path is not None:
            self._timer = node.create_timer(
                config.autosave_period,
                partial(self._on_time, path),
                clock=Clock(clock_type=ClockType.STEADY_TIME),
            )

    def save(self, request: SaveMap.Request, response: SaveMap.Response) -> Future:
        """Answer ~/save_map; the future may raise MapFileError."""
        return self._thread.run(partial(self._save, request, response))

    def load(self, request: LoadMap.Request, response: LoadMap.Response) -> Future:
        """Answer ~/load_map; the future may raise MapFileError."""
        return self._thread.run(partial(self._load, request, response))

    def save_last(self, timeout: float) -> None:
        """Save what no autosave has saved yet, where maps are saved by themselves, and tell of it.

        Args:
            timeout: After so long [s] the folder is left with the map that was saved before.
        """
        path = self._autosave_path
        if path is None:
            return
        answer: Answer[bool] = Answer()

        def work() -> None:
            try:
                answer.set_result(self._save_changes(path))
            except Exception as err:
                answer.set_exception(err)

        self._thread.run(work)
        try:
            if answer.result(timeout):
                self._logger.info(f'the map is saved in {path}')
        except OutOfTime:
            self._logger.warning(f'{path} lacks the newest of the map: saving it takes too long')
        except Exception as err:
            self._logger.warning(f'{path} lacks the newest of the map: {err}')

    def close(self, timeout: float) -> bool:
        """End the thread; False if it has not ended after `timeout` seconds."""
        has_ended = self._thread.close(timeout)
        if has_ended:
            for saver in self._savers.values():
                saver.close()
        return has_ended

    def _save(self, request: SaveMap.Request, response: SaveMap.Response) -> None:
        path = full_path(request.path)
        if path.suffix == '.ply':
            frame_id, reader = self._worker.ask(
                lambda: (self._keeper.locate(), self._pipeline.read_cloud())
            )
            response.num_points = write_ply(path, reader.read(self._worker.ask))
            what = f'{response.num_points} points'
        else:
            frame_id, num_chunks, num_bytes = self._save_folder(path)
            response.num_points = self._worker.ask(lambda: self._pipeline.num_voxels)
            what = (
                f'{response.num_points} voxels ({num_chunks} chunks that were new, '
                f'{num_bytes / _MEGABYTE:.1f} MB)'
            )
        response.path = str(path)
        response.message = f'{what} in frame {frame_id} written to {path}'
        response.success = True

    def _save_folder(self, path: Path) -> tuple[str, int, int]:
        """Return the frame, and how many chunks and bytes were written."""
        frame_id = self._worker.ask(self._keeper.locate)
        saver = self._savers.pop(path, None) or MapSaver(path)
        try:
            written = saver.save(self._pipeline, frame_id, self._worker.ask)
        except BaseException:
            saver.close()
            raise
        self._savers[path] = saver
        return frame_id, written.num_chunks, written.num_bytes

    def _load(self, request: LoadMap.Request, response: LoadMap.Response) -> None:
        path = full_path(request.path)
        self._worker.ask(partial(self._keeper.load, path, response))

    def _on_time(self, path: Path) -> None:
        if not self._is_saving:
            self._is_saving = True
            self._thread.run(partial(self._autosave, path))

    def _autosave(self, path: Path) -> None:
        epoch = self._pipeline.epoch
        try:
            self._save_changes(path)
        except MapFileError as err:
            if epoch == self._pipeline.epoch:  # else it was another map that should be saved
                self._problems.add('disk', f'the map is not saved by itself: {err}')
        finally:
            self._is_saving = False

    def _save_changes(self, path: Path) -> bool:
        """Save the map, if there is one that was not saved yet; return whether there was."""
        state = self._worker.ask(self._state)
        if state in (None, self._saved):
            return False
        self._save_folder(path)
        self._saved = state
        self._activity.note_autosave()
        return True

    def _state(self) -> tuple[int, int] | None:
        pipeline = self._pipeline
        return (pipeline.epoch, pipeline.revision) if pipeline.num_voxels else None


def full_path(path: str) -> Path:
    """Return an absolute path without links, so that equal folders are equal; ~ is home.

    Raises:
        MapFileError: There is no such home folder, or the path is empty.
    """
    if not path:
        raise MapFileError('no path is given: name a folder for the map, or a file ending in .ply')
    try:
        return Path(os.path.realpath(Path(path).expanduser()))
    except RuntimeError as err:
        raise MapFileError(f'there is no home folder for {path!r}; write it in full') from err


def has_no_map_yet(path: Path) -> bool:
    """Tell whether a folder is missing, or as the end of the process in its first save left it."""
    try:
        return all(entry.name in _WITHOUT_MAP for entry in path.iterdir())
    except FileNotFoundError:
        return True
    except OSError:  # who opens it is told why
        return False
