"""A network trained on nuclei beside the imFISH rule: it scores each nucleus and changes no verdict.

The network of paper imfish-cnn-2022 sees the CEP8 channel in the nucleus' box (reading 17).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ctc_mm.counting.crop_scores import calibrated, score_in_batches
from ctc_mm.counting.engines.build import build_classifier_engine
from ctc_mm.counting.imfish_settings import ImFISHRouteSettings
from ctc_mm.counting.records import SlideSpec
from ctc_mm.counting.route import JsonDict, TileResult
from ctc_mm.counting.slides import check_pixel_size
from ctc_mm.errors import ConfigError, SlideError
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.normalize import guess_white_level

# What a network of imfish-cnn-2022 sees, where the weights do not say.
USUAL_CHANNEL = "cep8"


class NucleusScorer:
    """Scores nuclei by a classifier.

    Args:
        settings: with the engine's.

    Attributes:
        threshold: calibrated score from which the network says CTC; None where validation chose none.

    Raises:
        ConfigError: no such rule for the threshold, and the errors of ``build_classifier_engine``.
    """

    def __init__(self, settings: ImFISHRouteSettings) -> None:
        self._engine = build_classifier_engine(settings.model)
        self._info = self._engine.info
        self._channels = tuple((self._info.channel or USUAL_CHANNEL).split("+"))
        raw = self._info.thresholds.get(settings.threshold_rule)
        if raw is None and self._info.thresholds:
            raise ConfigError(
                f"the network has no threshold by rule {settings.threshold_rule!r}; it has "
                f"{', '.join(self._info.thresholds)}"
            )
        self._rule = settings.threshold_rule
        self.threshold = None if raw is None else float(calibrated(np.array([raw]), self._info)[0])

    def describe(self) -> JsonDict:
        """The model as JSON values."""
        return self._engine.model()

    def thresholds(self) -> JsonDict:
        """What the flag ``cnn_disagrees`` rests on."""
        return {"cnn_threshold": self.threshold, "cnn_threshold_rule": self._rule}

    def check(self, spec: SlideSpec, field: Field) -> None:
        """Refuse a slide that the network does not fit.

        Raises:
            SlideError: a channel is missing, or pixels of another size.
        """
        missing = [name for name in self._channels if name not in field.channels]
        if missing:
            raise SlideError(
                f"{spec.name}: the network was trained on channel {'+'.join(self._channels)}, the slide has "
                f"{', '.join(field.channels)}"
            )
        if self._info.um_per_px is not None and field.um_per_px is not None:
            check_pixel_size(spec, field, self._info.um_per_px, resample=False)

    def cut(
        self, field: Field, boxes_xyxy: Sequence[Sequence[int]], brightest: Mapping[str, float]
    ) -> list[np.ndarray]:
        """Cut nuclei by their boxes, as the network saw them in training.

        Args:
            field: the slide.
            boxes_xyxy: half-open pixels.
            brightest: largest value of each channel of the slide, which tells white where the model does not.
        """
        level = self._info.white_level
        if level is None:
            most = max(brightest[name] for name in self._channels)
            level = guess_white_level(np.array([most], field.dtype))
        images = []
        for box in boxes_xyxy:
            planes = field.read(self._channels, tuple(box))
            image = planes[0] if len(planes) == 1 else np.ascontiguousarray(np.moveaxis(planes, 0, -1))
            images.append(self._engine.prepare(image, level))
        return images

    def add_scores(self, results: Iterable[tuple[TileResult, list[np.ndarray]]]) -> Iterator[TileResult]:
        """Give each tile's result with a score for each of its nuclei."""
        for result, found in score_in_batches(results, self._engine):
            if result.error is None:
                listed = [float(score) for score in calibrated(found[:, self._info.target_label], self._info)]
                result = replace(result, payload={**result.payload, "scores": listed})
            yield result
