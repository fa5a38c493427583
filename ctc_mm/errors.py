"""Exceptions of ctc_mm: what a user can cause, each message naming file, field, value received and the cure."""


class CTCError(Exception):
    """Base of every error that ctc_mm raises on purpose."""


class AnnotationError(CTCError, ValueError):
    """A label file (Labelme, VOC, COCO) that cannot be read as what it claims to be."""


class ImageReadError(CTCError, ValueError):
    """An image file that is missing, truncated, empty or of an unsupported kind."""


class SlideError(CTCError, ValueError):
    """A slide that cannot be counted as asked: pixel size, channels, size, volume."""


class LeakError(CTCError, ValueError):
    """Cells of one patient, or one picture twice, on both sides of a split."""


class ConfigError(CTCError, ValueError):
    """A config whose parts do not fit together."""


class CheckpointError(CTCError, ValueError):
    """Weights that cannot be found, downloaded, trusted or matched to the model."""


class EngineError(CTCError, RuntimeError):
    """A model that cannot be run: no memory for it, no such device, or the engine failed."""


class SchedulerError(CTCError, RuntimeError):
    """A Dask cluster that cannot be reached, has no workers, or is not of this version."""


class InstallationError(CTCError, ImportError):
    """Packages that cannot work side by side, or a compiled part that cannot be loaded."""


class MissingOpError(CTCError, RuntimeError):
    """A compiled mmcv op that the stand-in does not serve."""
