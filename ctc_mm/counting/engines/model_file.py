"""The facts that an exported model carries with it, so that a count needs nothing else than the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ctc_mm.counting.engines.base import ModelInfo
from ctc_mm.errors import CheckpointError, ConfigError

FACTS_KEY = "ctc_mm"  # in ONNX's metadata and in OpenVINO's runtime information
FORMAT = 2
READ_FORMATS = (1, 2)  # files of 1 have boxes of all priors, in float32
OUTSIDE, INSIDE = "outside", "inside"
FLOAT32, INT8 = "float32", "int8"


@dataclass(frozen=True)
class BoxRules:
    """What is done with a detector's raw boxes, as MMDetection's ``test_cfg`` has it.

    Attributes:
        score_thr: only higher scores are boxes.
        nms_pre: best boxes a level that enter NMS.
        nms: type and arguments of ``mmcv.ops.batched_nms``.
        max_per_img: best boxes that are kept.
        min_bbox_size: smaller sides, in pixels of the window, are no boxes; below 0: all are.
        clip: whether boxes end at the image's edge.
        level_sizes: priors of each level of the pyramid, in their order.
    """

    score_thr: float
    nms_pre: int
    nms: Mapping[str, Any]
    max_per_img: int
    min_bbox_size: float
    clip: bool
    level_sizes: tuple[int, ...]


@dataclass(frozen=True)
class ModelFacts:
    """All that a file says.

    Attributes:
        info: of the model.
        steps: of the test pipeline, on arrays; they are built by name, from the registries alone.
        boxes: of a detector; None of a classifier.
        check: how far the file was from PyTorch when it was made.
        checked_on: the images of that: ``drawn``, or a set of the config; None: the file does not say it.
        software: versions it was made with.
        nms: whether boxes are selected ``outside`` of the file, or ``inside`` by its graph.
        precision: ``float32``, or ``int8`` where layers were quantised.
        calibration: of int8: how many images of which set the ranges of its layers were taken from, and how.
    """

    info: ModelInfo
    steps: tuple[Mapping[str, Any], ...]
    boxes: BoxRules | None
    check: Mapping[str, float]
    software: Mapping[str, str]
    nms: str = OUTSIDE
    precision: str = FLOAT32
    calibration: Mapping[str, Any] = field(default_factory=dict)
    checked_on: str | None = None

    def __post_init__(self) -> None:
        if self.nms not in (OUTSIDE, INSIDE) or self.precision not in (FLOAT32, INT8):
            raise ConfigError(
                f"a file's nms is {OUTSIDE} or {INSIDE}, its precision {FLOAT32} or {INT8}. Received: {self.nms!r}, "
                f"{self.precision!r}"
            )

    def to_text(self) -> str:
        """As JSON.

        Raises:
            ConfigError: a step holds what JSON has no word for.
        """
        content = {
            "format": FORMAT,
            "info": self.info.to_json(),
            "steps": list(self.steps),
            "boxes": None if self.boxes is None else asdict(self.boxes),
            "check": dict(self.check),
            "checked_on": self.checked_on,
            "software": dict(self.software),
            "nms": self.nms,
            "precision": self.precision,
            "calibration": dict(self.calibration),
        }
        try:
            return json.dumps(content, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"the test pipeline of {self.info.name} cannot be written into a file ({error}); name its transforms "
                "by strings and give plain numbers"
            ) from error

    @classmethod
    def from_text(cls, text: str | None, path: str) -> ModelFacts:
        """Read what ``to_text`` wrote.

        Args:
            text: as the file holds it; None where it holds none.
            path: of the file, for messages.

        Raises:
            CheckpointError: there is none, or it is of another version of this format.
        """
        if text is None:
            raise CheckpointError(f"{path}: says nothing of its classes and windows; make it with tools/export.py")
        try:
            content = json.loads(text)
            if content["format"] not in READ_FORMATS:
                read = " and ".join(map(str, READ_FORMATS))
                raise ConfigError(f"its facts are of format {content['format']}, this version reads {read}")
            rules = content["boxes"]
            return cls(
                info=ModelInfo.from_json(content["info"]),
                steps=tuple(_tuples(step) for step in content["steps"]),
                boxes=None if rules is None else BoxRules(**{**rules, "level_sizes": tuple(rules["level_sizes"])}),
                check=content["check"],
                software=content["software"],
                nms=content.get("nms", OUTSIDE),
                precision=content.get("precision", FLOAT32),
                calibration=content.get("calibration", {}),
                checked_on=content.get("checked_on"),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: its facts cannot be read ({error}); export the model anew") from error


def _tuples(content: Any) -> Any:
    """JSON has lists only; transforms want tuples where no steps are inside."""
    if isinstance(content, Mapping):
        return {key: _tuples(value) for key, value in content.items()}
    if isinstance(content, list):
        inner = [_tuples(value) for value in content]
        return inner if any(isinstance(value, Mapping) for value in content) else tuple(inner)
    return content
