"""MapSaver: saves the map of a pipeline again and again while frames go on.

with MapSaver('out/map') as saver:
    saver.save(pipeline, 'map')
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from concerto_ros.errors import ConcertoError, MapFileError
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.semantic_map.header import TRANSLATOR, translator_digest
from concerto_ros.storage import Chunk, Content, MapWriter, WeightsFile, Written

Run = Callable[[Callable[[], Any]], Any]
_TRIES = 3


class MapSaver:
    """Writes a map into a folder; each save writes the chunks that changed since the last one.

    What the map of the folder and that of the pipeline have in common is known only after a save,
    or if the pipeline has loaded that folder; otherwise all is written. Not for several threads
    at a time.

    Args:
        path: The folder; it is made if it is missing. A map in it is replaced at the first save.

    Raises:
        MapFileError: The path is a file, another writer uses the folder, the map in it cannot
            be read, or the disk refuses.
    """

    def __init__(self, path: str | Path) -> None:
        self._writer = MapWriter(path)
        self._epoch = -1  # of the map that was saved last

    def __enter__(self) -> 'MapSaver':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write into the folder."""
        self._writer.close()

    def save(
        self, pipeline: PerceptionPipeline, frame_id: str, run: Run = lambda job: job()
    ) -> Written:
        """Save the map as it is now, give or take what happens meanwhile.

        Args:
            pipeline: Whose map.
            frame_id: Name of the world.
            run: Has the thread that owns the pipeline execute a function, and returns what that
                returns or raises what it raises. It is called for each chunk that changed, so
                that frames go on in between; writing is done in the thread of the caller.

        Raises:
            MapFileError: The map was reset or loaded meanwhile, or the disk is full or refuses;
                the folder then holds the map that was saved before.
        """
        for _ in range(_TRIES):
            try:
                return self._save(pipeline, frame_id, run)
            except _MovedOn as err:
                reason = err
        raise MapFileError('the map was changed too much while it was saved: save it again') from (
            reason
        )

    def _save(self, pipeline: PerceptionPipeline, frame_id: str, run: Run) -> Written:
        state, folder, (info, revisions) = run(
            lambda: (_State(pipeline), pipeline.folder, pipeline.describe(frame_id))
        )
        if state.epoch != self._epoch:  # revisions count anew
            self._writer.restart(continues=folder)
            self._epoch = state.epoch
        chunks = {
            key: Chunk(revision, partial(run, partial(_content, pipeline, key, state)))
            for key, revision in revisions.items()
        }
        return self._writer.save(info, chunks, _weights(pipeline))


class _MovedOn(ConcertoError):
    """The chunks that are still to be saved no longer fit those that were."""


class _State:
    """What must stay as it is from the first chunk of a save to the last."""

    def __init__(self, pipeline: PerceptionPipeline) -> None:
        self.epoch = pipeline.epoch
        self._layout = pipeline.layout

    def check(self, pipeline: PerceptionPipeline) -> None:
        if pipeline.epoch != self.epoch:
            raise MapFileError(
                'the map was reset or another one was loaded while it was saved, so the save was '
                'given up: save it again'
            )
        if pipeline.layout[: len(self._layout)] != self._layout:
            raise _MovedOn


def _content(pipeline: PerceptionPipeline, key: int, state: _State) -> Content | None:
    state.check(pipeline)
    try:
        record: Mapping[str, Tensor] = pipeline.record(key)
    except KeyError:  # gone since the save began
        return None
    return Content(len(record['place']), record)


def _weights(pipeline: PerceptionPipeline) -> dict[str, WeightsFile]:
    translator = pipeline.translator
    if translator is None:
        return {}
    return {TRANSLATOR: WeightsFile(translator_digest(translator), translator.save)}
