"""Models that tools/export.py made, run by ONNX Runtime or OpenVINO; no config and no checkpoint is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from ctc_mm.counting.engines.base import (
    CLASSIFIER,
    DETECTOR,
    Described,
    EngineSettings,
    JsonDict,
    WindowDetections,
    full_batch,
)
from ctc_mm.counting.engines.facts import file_hash
from ctc_mm.counting.engines.model_file import FLOAT32, INSIDE, ModelFacts
from ctc_mm.counting.engines.post_processing import select_boxes, selected_boxes
from ctc_mm.counting.engines.preparation import Geometry, Preparation, array_steps, window_of
from ctc_mm.counting.engines.sessions import BOXES, FACTORS, PROBABILITIES, SCORES, SELECTED, Session, open_session
from ctc_mm.engine.compatibility import KIND_OF_SCOPE
from ctc_mm.engine.setup import register_all_modules
from ctc_mm.errors import ConfigError

SCOPE_OF_KIND = {kind: scope for scope, kind in KIND_OF_SCOPE.items()}


class _ExportedEngine(Described):
    """What both kinds of model share."""

    kind: str

    def __init__(self, session: Session, facts: ModelFacts, settings: EngineSettings) -> None:
        register_all_modules(SCOPE_OF_KIND[self.kind])
        steps = array_steps(facts.steps, self.kind)
        info = replace(facts.info, hashes={**facts.info.hashes, "model": file_hash(settings.model)})
        if self.kind == DETECTOR:
            most = facts.boxes.max_per_img
            info = replace(info, max_per_img=most if most > 0 else None)
            if settings.window_px is not None:
                info = replace(info, window_wh=window_of(steps, info.trained_on, settings.window_px))
        self.facts, self.info, self.batch_size = facts, info, settings.batch_size
        self.engine, self.device = settings.engine_name, settings.device
        self.prepare, self._session = Preparation(steps, info), session

    @classmethod
    def load(cls, settings: EngineSettings) -> Self:
        """Load the file; see ``build_detector_engine``."""
        session = open_session(settings)
        facts = ModelFacts.from_text(session.facts, settings.model)
        if facts.info.kind != cls.kind:
            raise ConfigError(
                f"{settings.model}: holds a {facts.info.kind}, where a {cls.kind} is needed (route detect takes "
                "detectors, classify takes classifiers)"
            )
        return cls(session, facts, settings)

    def model(self) -> JsonDict:
        """See ``Described``; a quantised model says so."""
        return super().model() | ({} if self.facts.precision == FLOAT32 else {"precision": self.facts.precision})

    def _run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        return self._session.run(full_batch(batch, self.batch_size, self.info.input_chw))


class ExportedDetector(_ExportedEngine):
    """An exported detector; see ``DetectorEngine``."""

    kind = DETECTOR

    def __init__(self, session: Session, facts: ModelFacts, settings: EngineSettings) -> None:
        super().__init__(session, facts, settings)
        self._least = self.info.least_score(settings.doubt)
        self._rules = replace(facts.boxes, score_thr=max(facts.boxes.score_thr, self._least))
        self.geometry = self.prepare.geometry(self.info.window_wh)
        if self.geometry.input_chw != self.info.input_chw:
            raise ConfigError(
                f"{settings.model}: takes images of {self.info.input_chw} (C, H, W), and windows of "
                f"{self.info.window_wh} px become {self.geometry.input_chw}; leave --window-px out, or export "
                "the model with it"
            )
        # What a graph with NMS was built for.
        self._built_for = self.prepare.geometry(facts.info.window_wh)
        self._check_place(self.geometry)

    def raw(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """What ``export_graph.DetectorGraph`` gives of all priors, or ``SelectingGraph`` of the boxes, by name."""
        return {name: values[: len(batch)] for name, values in self._run(batch).items()}

    def __call__(self, batch: np.ndarray) -> list[WindowDetections]:
        """See ``DetectorEngine``."""
        return self.find(batch, [self.geometry] * len(batch))

    def find(self, batch: np.ndarray, geometries: Sequence[Geometry]) -> list[WindowDetections]:
        """Find cells in windows that may lie in the input in different ways.

        Args:
            batch: see ``DetectorEngine``.
            geometries: of each window.

        Raises:
            ConfigError: the file selects boxes itself, for windows that lie in another way.
        """
        found = self.raw(batch)
        if self.facts.nms == INSIDE:
            for geometry in geometries:
                self._check_place(geometry)
            rows = zip(*(found[name] for name in SELECTED), geometries, strict=True)
            return [selected_boxes(*row, self._least) for row in rows]
        factors = found.get(FACTORS, [None] * len(batch))
        windows = zip(found[SCORES], found[BOXES], factors, geometries, strict=True)
        return [select_boxes(one, boxes, self._rules, place, of) for one, boxes, of, place in windows]

    def _check_place(self, geometry: Geometry) -> None:
        """Refuse windows whose edge, or smallest box, is not the one in the file's graph."""
        rules, built = self.facts.boxes, self._built_for
        moved = rules.clip and geometry.image_hw != built.image_hw
        scaled = rules.min_bbox_size > 0 and geometry.scale_wh != built.scale_wh
        if self.facts.nms == INSIDE and (moved or scaled):
            raise ConfigError(
                f"{self.info.name}: its file selects boxes in windows of {built.window_wh[0]} x {built.window_wh[1]} "
                f"px. Received: {geometry.window_wh[0]} x {geometry.window_wh[1]} px; leave --window-px out, or export "
                "the model with it, or with --nms outside"
            )


class ExportedClassifier(_ExportedEngine):
    """An exported classifier; see ``ClassifierEngine``."""

    kind = CLASSIFIER

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See ``ClassifierEngine``."""
        return self._run(batch)[PROBABILITIES][: len(batch)]
