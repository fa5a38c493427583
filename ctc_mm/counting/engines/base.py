"""What every engine is to the routes that use it; no framework here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple, Protocol

import numpy as np

from ctc_mm.counting.setting_checks import is_size
from ctc_mm.errors import ConfigError

TORCH, ONNXRUNTIME, OPENVINO = "torch", "onnxruntime", "openvino"
ENGINES = (TORCH, ONNXRUNTIME, OPENVINO)
DETECTOR, CLASSIFIER = "detector", "classifier"
# A score in float32 that equals the threshold is not to fall below it.
ROUNDING = 1e-6

JsonDict = dict[str, Any]


class WindowDetections(NamedTuple):
    """What a detector finds in one window, after its own threshold and NMS, best first.

    Attributes:
        boxes_xyxy: float32 (M, 4), half-open pixels of the window as it was cut from the image.
        scores: float32 (M,), 0 to 1.
        labels: int64 (M,), places in ``ModelInfo.classes``.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class ModelInfo:
    """What a model says of itself; JSON values, so that a count card and an exported file can hold it.

    Attributes:
        kind: ``detector`` or ``classifier``.
        name: of the config, or of the file.
        classes: by label.
        target: the class that is counted.
        thresholds: score from which a prediction counts: of a detector by class (0.5 where validation chose none), of
            a classifier by rule (only those that validation could decide).
        um_per_px: side of a pixel in training; None where it is not known.
        channel: name of the channel, or of stacked ones joined by ``+``; None where it is not known.
        white_level: pixel value that became 255 in training; None where it is not known.
        window_wh: of the images in training: a detector's window, in pixels of ``um_per_px``; of a classifier None
            where the cells differ in size.
        input_chw: of one prepared image; of a classifier None where it depends on the cell.
        max_per_img: of a detector: most boxes that it gives for a window; None: there is no limit, or it is not known.
        temperature: of a classifier: what its log-odds are divided by to be a probability.
        hashes: SHA-256 of ``config`` and ``checkpoint``, and of the ``model`` file where it is an exported one.
        trained_on: all that the weights remember of their training set.
        operating_point: what validation chose, as it is stored with the weights; None where it chose nothing.
    """

    kind: str
    name: str
    classes: tuple[str, ...]
    target: str
    thresholds: Mapping[str, float]
    um_per_px: float | None = None
    channel: str | None = None
    white_level: float | None = None
    window_wh: tuple[int, int] | None = None
    input_chw: tuple[int, int, int] | None = None
    max_per_img: int | None = None
    temperature: float | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    trained_on: Mapping[str, Any] = field(default_factory=dict)
    operating_point: Mapping[str, Any] | None = None

    @property
    def target_label(self) -> int:
        """Place of the target in ``classes``."""
        return self.classes.index(self.target)

    def least_score(self, doubt: float | None) -> float:
        """Score below which a detector's boxes are left out, see ``EngineSettings.doubt``."""
        lowest = min(self.thresholds.values(), default=0.0)
        return 0.0 if doubt is None else doubt * lowest * (1 - ROUNDING)

    def to_json(self) -> JsonDict:
        """Plain dicts, lists, strings and numbers."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ModelInfo:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: a key is missing or unknown.
        """
        known = {one.name for one in fields(cls)}
        unknown, missing = sorted(set(content) - known), sorted({"kind", "name", "classes"} - set(content))
        if unknown or missing:
            raise ConfigError(f"facts of a model: unknown keys {unknown}, missing ones {missing}; export it again")
        as_tuples = ("classes", "window_wh", "input_chw")
        return cls(**{k: tuple(v) if k in as_tuples and v is not None else v for k, v in content.items()})


@dataclass(frozen=True)
class EngineSettings:
    """Which model to run, and how; JSON values.

    Attributes:
        config, checkpoint: of a model that PyTorch runs.
        model: instead, the file that tools/export.py made (``.onnx``, which both engines run, or ``.xml`` of OpenVINO).
        engine: ``torch``, ``onnxruntime`` or ``openvino``; None: by what is given.
        device: ``cpu``, ``cuda``, ``cuda:1``; of OpenVINO also ``gpu``.
        batch_size: images the model sees at once; shorter batches are filled up.
        threads: of the engine; None: its own choice.
        window_px: side of a detector's window, or its width and height, in pixels of the model's um_per_px, in the
            place of what the model remembers of its training.
        doubt: of a detector: boxes below this share of the lowest threshold are left out at once, since no count looks
            at them; selecting among them can take longer than a light network. Those that stay are the same.
            None: all that the model gives.
        trust_checkpoint: load weights by pickle, which runs whatever their author put in.
        cfg_options: changes of the config, dotted keys.

    Raises:
        ConfigError: no model, two of them, an unknown engine, or a number out of range.
    """

    config: str | None = None
    checkpoint: str | None = None
    model: str | None = None
    engine: str | None = None
    device: str = "cpu"
    batch_size: int = 8
    threads: int | None = None
    window_px: int | Sequence[int] | None = None
    doubt: float | None = None
    trust_checkpoint: bool = False
    cfg_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pair = self.config is not None and self.checkpoint is not None
        if pair == (self.model is not None) or (self.config is None) != (self.checkpoint is None):
            raise ConfigError(
                "a model is a config with its checkpoint (--config, --checkpoint), or an exported file (--model). "
                f"Received: config {self.config!r}, checkpoint {self.checkpoint!r}, model {self.model!r}"
            )
        if self.engine is not None and self.engine not in ENGINES:
            raise ConfigError(f"engine must be one of {', '.join(ENGINES)}. Received: {self.engine!r}")
        for name in ("batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and not is_size(value):
                raise ConfigError(f"{name} must be a whole number above 0. Received: {value!r}")
        sides = [self.window_px] if isinstance(self.window_px, int) else self.window_px
        if sides is not None and not (len(sides) in (1, 2) and all(map(is_size, sides))):
            raise ConfigError(f"window_px must be one or two whole numbers above 0. Received: {self.window_px!r}")
        if self.doubt is not None and not 0 <= self.doubt <= 1:
            raise ConfigError(f"doubt must be from 0 to 1. Received: {self.doubt!r}")
        suits = (self.engine_name == TORCH) == (self.model is None)
        if not suits:
            wanted = "a config and a checkpoint" if self.engine_name == TORCH else "a file made by tools/export.py"
            raise ConfigError(f"engine {self.engine_name} runs {wanted}. Received: {self.model or self.config!r}")

    @property
    def engine_name(self) -> str:
        """``engine``, or what suits the model."""
        if self.engine is not None:
            return self.engine
        if self.model is None:
            return TORCH
        return OPENVINO if self.model.lower().endswith(".xml") else ONNXRUNTIME

    @classmethod
    def of(cls, settings: EngineSettings | Mapping[str, Any]) -> EngineSettings:
        """Take the engine's part of the settings of a route; None stands for what was not given."""
        if isinstance(settings, cls):
            return settings
        names = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in settings.items() if name in names and value is not None})


class Described:
    """What every engine says of itself.

    Attributes:
        info: facts of the model.
        engine: that runs it, one of ``ENGINES``.
        device: on which it runs.
    """

    info: ModelInfo
    engine: str
    device: Any

    def model(self) -> JsonDict:
        """The model as the count card names it: its facts, the engine, the kind of device; scores depend on each."""
        return {**self.info.to_json(), "engine": self.engine, "device": str(self.device).partition(":")[0].lower()}


class _Engine(Protocol):
    info: ModelInfo
    batch_size: int

    def model(self) -> JsonDict:
        """See ``Described``."""

    def prepare(self, image: np.ndarray, white_level: float | None = None) -> np.ndarray:
        """What the model saw in training, made of an image cut from a slide; may be called in several threads.

        Args:
            image: (H, W) grey, (H, W, 3) RGB, or (H, W, C) planes of a classifier of stacked channels; uint8, uint16 or
                float. A detector takes windows of ``info.window_wh`` alone.
            white_level: pixel value that becomes 255; None: 255 for uint8, else the model's.

        Returns:
            float32 (C, H, W), 0 to 255, before the normalisation that belongs to the model.

        Raises:
            ValueError: another shape, or no white level is known.
            ImageReadError: the pixels do not fit the white level.
        """


class DetectorEngine(_Engine, Protocol):
    """Finds cells in windows."""

    def __call__(self, batch: np.ndarray) -> list[WindowDetections]:
        """Find cells.

        Args:
            batch: float32 (N, C, H, W) of prepared windows, N up to ``batch_size``.

        Raises:
            ValueError: another shape.
            EngineError: the engine has no memory left, or fails.
        """


class ClassifierEngine(_Engine, Protocol):
    """Gives the probability of each class for images of single cells."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Judge cells.

        Args:
            batch: float32 (N, C, H, W) of prepared cells, N up to ``batch_size``.

        Returns:
            float32 (N, classes), before any calibration; rows sum to 1.

        Raises:
            ValueError: another shape.
            EngineError: the engine has no memory left, or fails.
        """


def full_batch(batch: np.ndarray, batch_size: int, input_chw: Sequence[int] | None) -> np.ndarray:
    """Fill a batch up to its fixed size, so that an image's scores do not depend on how many came with it.

    Libraries choose another algorithm, with other rounding, for another batch size.

    Args:
        batch: (N, C, H, W), 1 <= N <= ``batch_size``.
        batch_size: wanted N; what is added is the last image again.
        input_chw: what each image must be; None: any.

    Raises:
        ValueError: another shape.
    """
    if batch.ndim != 4 or not 1 <= len(batch) <= batch_size or (input_chw and batch.shape[1:] != tuple(input_chw)):
        wanted = "C, H, W" if input_chw is None else ", ".join(map(str, input_chw))
        raise ValueError(f"a batch must be (1 to {batch_size}, {wanted}). Received shape {batch.shape}")
    batch = np.ascontiguousarray(batch, np.float32)
    missing = batch_size - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch
