"""Every error a user can meet; its message says what was expected, what was found, what to do."""


class ConcertoError(Exception):
    """Base of all errors that name a cause and a cure."""


class ConfigError(ConcertoError, ValueError):
    """A configuration value is unknown, mistyped or out of range."""


class CheckpointError(ConcertoError):
    """A weights file is missing, damaged, or does not fit the network."""


class CalibrationError(ConcertoError):
    """A camera cannot be used: no intrinsics, or a size that differs from its image."""


class FrameError(ConcertoError):
    """One image is unusable: encoding, shape, or no valid depth."""


class TransformUnavailable(ConcertoError):  # noqa: N818 - a state of the world, named as in tf2
    """No transform connects the camera with the map at the stamp of an image."""


class BackendUnavailable(ConcertoError):  # noqa: N818
    """An optional package or device is missing; the message says how to install it."""


class SourceError(ConcertoError):
    """A recording (bag or folder) cannot be read; the message lists what was found instead."""


class MapFileError(ConcertoError):
    """A map cannot be written or read."""


class SearchError(ConcertoError):
    """A question cannot be answered: it is empty, or no language model is loaded."""
