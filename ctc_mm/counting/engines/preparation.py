"""Images cut from a slide made into what a model saw in training: the config's own test pipeline, on arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform, Compose
from mmengine.registry import TRANSFORMS

import ctc_mm.datasets.transforms  # noqa: F401  # for what it registers
from ctc_mm.counting.engines.base import DETECTOR, ModelInfo
from ctc_mm.errors import ConfigError
from ctc_mm.imaging.normalize import guess_white_level

OWN_SCOPE = "ctc_mm"
SCOPES = (OWN_SCOPE, "mmdet", "mmpretrain", "mmcv", "mmengine")
LOADS_BGR, LOADS_CELL = "LoadMicroscopyImage", "LoadCellImage"
# Loaders of MMDetection's and MMPretrain's own configs, which know files and 8 bits only.
FOREIGN_LOADERS = ("LoadImageFromFile", "LoadImageFromNDArray")


@dataclass(frozen=True)
class Geometry:
    """How a window lies in the network's input, the same for all windows of a model.

    Attributes:
        input_chw: of the prepared image.
        window_wh: of the image before.
        image_hw: height and width of the part of the input that shows the window; the rest is padding.
        scale_wh: pixels of the input per pixel of the window, in x and y.
    """

    input_chw: tuple[int, int, int]
    window_wh: tuple[int, int]
    image_hw: tuple[int, int]
    scale_wh: tuple[float, float]


def array_steps(steps: Sequence[Mapping[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Steps of a test pipeline as they are run on arrays: a loader for files gives way to ours.

    Args:
        steps: as the config has them, without the loading of annotations.
        kind: ``detector`` or ``classifier``.

    Raises:
        ConfigError: the pipeline does not begin with a loader that takes arrays, or a step is no transform.
    """
    steps = [dict(step) for step in steps]
    first = _bare(steps[0]) if steps else "nothing"
    ours = LOADS_BGR if kind == DETECTOR else LOADS_CELL
    if first in FOREIGN_LOADERS:
        steps[0] = dict(type=f"{OWN_SCOPE}.{ours}")
    elif first != ours:
        raise ConfigError(
            f"the test pipeline of this {kind} begins with {first}; counting cuts windows and cells itself and hands "
            f"them to ctc_mm.{ours} (or a LoadImageFromFile, in whose place it comes). Fields of several channels are "
            "counted by the route imfish"
        )
    for step in _nested(steps):
        _require_transform(step)
    return steps


def _nested(content: Any) -> Iterator[Mapping[str, Any]]:
    """Everything that a registry would build."""
    if isinstance(content, Mapping):
        if "type" in content:
            yield content
        for value in content.values():
            yield from _nested(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _nested(value)


def _bare(step: Mapping[str, Any]) -> str:
    kind = step.get("type")
    return getattr(kind, "__name__", str(kind)).rpartition(".")[2]


def _require_transform(step: Mapping[str, Any]) -> None:
    """Refuse what is no transform: MMEngine builds ``type='os.system'`` too, and an exported file may come by mail."""
    kind = step["type"]
    if isinstance(kind, str):
        scope, dot, _ = kind.rpartition(".")
        with TRANSFORMS.switch_scope_and_registry(None) as registry:
            found = registry.get(kind) if not dot or scope in SCOPES else None
    else:
        found = kind
    if not (isinstance(found, type) and issubclass(found, BaseTransform)):
        raise ConfigError(f"the test pipeline's step {kind!r} is no transform of mmcv, mmdet, mmpretrain or ctc_mm")


class Preparation:
    """The test pipeline of a model, for arrays.

    Args:
        steps: see :func:`array_steps`.
        info: of the model; its white level and channel go to the loader.

    Raises:
        ConfigError: the pipeline cannot be built.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]], info: ModelInfo) -> None:
        self.info = info
        self._is_bgr = _bare(steps[0]) == LOADS_BGR
        self._has_own_level = steps[0].get("white_level", "auto") != "auto"
        try:
            self._pipeline = Compose([dict(step) for step in steps])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"the test pipeline of {info.name} cannot be built: {error}") from error

    def __call__(self, image: np.ndarray, white_level: float | None = None) -> np.ndarray:
        """See ``DetectorEngine.prepare``."""
        wanted = self.info.window_wh if self.info.kind == DETECTOR else None
        if wanted is not None and image.shape[1::-1] != tuple(wanted):
            raise ValueError(
                f"the window of {self.info.name} is {wanted[0]} x {wanted[1]} px. Received an image of shape "
                f"{image.shape}"
            )
        return self._run(image, white_level)["inputs"].numpy().astype(np.float32, copy=False)

    def geometry(self, window_wh: tuple[int, int]) -> Geometry:
        """Prepare an empty window and see where it lies.

        Raises:
            ConfigError: the pipeline does not say where, so that boxes could not be brought back.
        """
        packed = self._run(np.zeros(window_wh[::-1], np.uint8), None)
        known = packed["data_samples"].metainfo
        if "img_shape" not in known or "scale_factor" not in known:
            raise ConfigError(
                f"the test pipeline of {self.info.name} packs neither img_shape nor scale_factor; add them to "
                "PackDetInputs(meta_keys=...), or leave meta_keys out"
            )
        chw, hw, scale = packed["inputs"].shape, known["img_shape"], known["scale_factor"]
        return Geometry(
            input_chw=(int(chw[0]), int(chw[1]), int(chw[2])),
            window_wh=(int(window_wh[0]), int(window_wh[1])),
            image_hw=(int(hw[0]), int(hw[1])),
            scale_wh=(float(scale[0]), float(scale[1])),
        )

    def _run(self, image: np.ndarray, white_level: float | None) -> dict[str, Any]:
        results = {"img": image, "img_id": 0, "channel": self.info.channel}
        if self._is_bgr and image.ndim == 3 and image.shape[2] == 3:
            results["img"] = image[..., ::-1]
        results["white_level"] = self._level(image, white_level)
        return self._pipeline(results)

    def _level(self, image: np.ndarray, white_level: float | None) -> float | None:
        if white_level is not None or self._has_own_level:
            return white_level
        if image.dtype == np.uint8:
            return guess_white_level(image)  # no guess: 255
        if self.info.white_level is None:
            raise ValueError(
                f"{self.info.name} remembers no white level, and pixels are {image.dtype}: give the slide's own "
                "(a guess for each window would change the brightness from window to window)"
            )
        return self.info.white_level


def window_of(
    steps: Sequence[Mapping[str, Any]], trained_on: Mapping[str, Any], window_px: int | Sequence[int] | None
) -> tuple[int, int]:
    """Width and height of a detector's window: as asked, as in training, or the size that its pipeline resizes to.

    Raises:
        ConfigError: nothing of that is known.
    """
    resized = next((step.get("scale") for step in steps if _bare(step) == "Resize"), None)
    found = window_px or trained_on.get("image_wh") or resized
    if found is None:
        raise ConfigError("the model does not say how large its images were in training; give --window-px")
    sides = [found] if isinstance(found, int) else found
    return (int(sides[0]), int(sides[-1]))
