"""What is well and what is not: one status each for a camera, the worker and the map."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from concerto_ros.ros.activity import MapSize

_LOST = (  # kinds of problems that cost frames
    'camera_info', 'disk', 'image', 'internal', 'stamp', 'transform', 'unpaired_color',
    'unpaired_depth', 'unusable', 'waiting',
)  # fmt: skip
_OVERTAKEN = 'overtaken'  # costs frames, too, but is nothing bad
_CURES = {
    'network': 'labels stay as they are; see the log, and if memory ran out, lower '
    'semantics.max_points'
}
_PATIENCE = 3.0  # [s] without a fused frame
_MEGABYTE = 1e6
_TOLERANCE = 1.05  # of the budget


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraFacts:
    """What is known of a camera.

    Attributes:
        topic: Of its colour images.
        counts: Problems by kind so far, as well as 'pairs' of images and 'fused' frames.
        recent: The same during the last `seconds`.
        seconds: Length of that time [s].
        age: Of the newest frame that was given to the worker [s]; None: there was none.
        silence: Why there are no pairs, if somebody knows.
        sentences: The newest problem of each kind.
    """

    topic: str
    counts: Counter[str]
    recent: Counter[str]
    seconds: float
    age: float | None
    silence: str
    sentences: Mapping[str, str]


def camera_status(facts: CameraFacts) -> DiagnosticStatus:
    """Tell how a camera is."""
    level, message = _camera_message(facts)
    values = {
        'frames in [Hz]': f'{facts.recent["pairs"] / facts.seconds:.2f}',
        'frames fused [Hz]': f'{facts.recent["fused"] / facts.seconds:.2f}',
        'age of the newest frame [s]': 'none' if facts.age is None else f'{facts.age:.2f}',
        'transform failures': facts.counts['transform'],
    }
    for kind in (_OVERTAKEN, *_LOST):
        if facts.counts[kind]:
            values[f'dropped, {kind}'] = facts.counts[kind]
    return _status(level, message, values, hardware_id=facts.topic)


def worker_status(
    seconds: Mapping[str, list[float]],
    running: Mapping[str, float],
    failures: Mapping[str, str],
    num_errors: int,
    num_new: int,
) -> DiagnosticStatus:
    """Tell how the worker is.

    Args:
        seconds: How long each stage took each time [s] since the last report.
        running: Since how long [s] the stages that are being done have been running.
        failures: Errors of the stages that fail at present.
        num_errors: Errors that nobody foresaw, so far.
        num_new: Those of the last seconds.
    """
    level, message = DiagnosticStatus.OK, 'works' if seconds else 'has nothing to do'
    for stage, age in running.items():
        message = f'{stage} for {age:.1f} s so far'
    if num_new:
        level = DiagnosticStatus.WARN
        message = f'{num_new} errors that nobody foresaw; see the log, and report them'
    for stage, error in failures.items():
        level = DiagnosticStatus.ERROR
        message = f'the {stage} fails: {_one_line(error)}; {_CURES.get(stage, "see the log")}'
    values: dict[str, object] = {}
    for stage, times in sorted(seconds.items()):
        values[f'{stage}, mean [s]'] = f'{sum(times) / len(times):.4f}'
        values[f'{stage}, max [s]'] = f'{max(times):.4f}'
    values['internal errors'] = num_errors
    return _status(level, message, values)


def map_status(size: MapSize, autosave_age: float | None = None) -> DiagnosticStatus:
    """Tell how the map is.

    Args:
        size: How large it is.
        autosave_age: Since the map was saved by itself [s]; None: it was not.
    """
    total = sum(size.memory.values())
    level, message = DiagnosticStatus.OK, f'{size.num_voxels} voxels, {_megabytes(total)}'
    if size.paged_bytes:
        message += f' in memory and {_megabytes(size.paged_bytes)} of files on the disk'
    if size.max_bytes is not None and total > _TOLERANCE * size.max_bytes:
        level = DiagnosticStatus.WARN
        message = (
            f'the map takes {_megabytes(total)} and may take {_megabytes(size.max_bytes)}; raise '
            'map.max_bytes, or depth.stride or map.voxel_size'
        )
    values: dict[str, object] = {
        'voxels': size.num_voxels,
        'voxels in memory': size.num_resident,
        'revision': size.revision,
    }
    for layer, num_bytes in (*size.memory.items(), ('all', total)):
        values[f'memory, {layer} [bytes]'] = num_bytes
        if size.num_resident:
            values[f'bytes per voxel, {layer}'] = f'{num_bytes / size.num_resident:.1f}'
    values['on the disk, also of chunks back in memory [bytes]'] = size.paged_bytes
    if size.max_bytes is not None:
        values['budget [bytes]'] = size.max_bytes
    values['windows looked at'] = size.num_windows
    values['last autosave [s]'] = 'none' if autosave_age is None else f'{autosave_age:.1f}'
    return _status(level, message, values)


def _camera_message(facts: CameraFacts) -> tuple[bytes, str]:
    recent = facts.recent
    if not recent['pairs']:
        reason = facts.silence or f'no pair of images came on {facts.topic}; start the camera'
        return DiagnosticStatus.ERROR, f'no frames: {reason}'
    lost = {kind: recent[kind] for kind in _LOST if recent[kind]}
    if lost:
        level = DiagnosticStatus.WARN if recent['fused'] else DiagnosticStatus.ERROR
        # Too many wait where transforms are missing: that is the cause.
        worst = max(lost, key=lambda kind: (kind != 'waiting', lost[kind]))
        return level, _one_line(facts.sentences[worst])
    if not recent['fused'] and facts.seconds > _PATIENCE:
        return DiagnosticStatus.WARN, _why_not_fused(recent, facts.seconds)
    return DiagnosticStatus.OK, f'{recent["fused"]} frames fused in {facts.seconds:.0f} s'


def _why_not_fused(recent: Counter[str], seconds: float) -> str:
    reason = (
        'the network takes that long; lower semantics.max_points'
        if recent[_OVERTAKEN]
        else 'they wait for their transforms; see that /tf comes sooner'
    )
    return f'images come, but none was fused in {seconds:.0f} s: {reason}'


def _status(
    level: bytes, message: str, values: Mapping[str, object], hardware_id: str = ''
) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def _one_line(sentence: str) -> str:
    """Return a sentence, or of a traceback its last line."""
    *before, last = sentence.strip().splitlines() or ['']
    return f'internal error, see the log: {last}' if before else last


def _megabytes(num_bytes: int) -> str:
    return f'{num_bytes / _MEGABYTE:.1f} MB'
