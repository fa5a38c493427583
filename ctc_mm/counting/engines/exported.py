"""Models that tools/export.py made, run by ONNX Runtime or OpenVINO; no config and no checkpoint is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np

from ctc_mm.counting.engines.base import CLASSIFIER, DETECTOR, Described, EngineSettings, WindowDetections, full_batch
from ctc_mm.counting.engines.facts import file_hash
from ctc_mm.counting.engines.model_file import ModelFacts
from ctc_mm.counting.engines.post_processing import select_boxes
from ctc_mm.counting.engines.preparation import Preparation, array_steps, window_of
from ctc_mm.counting.engines.sessions import BOXES, FACTORS, PROBABILITIES, SCORES, Session, open_session
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

    def _run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        return self._session.run(full_batch(batch, self.batch_size, self.info.input_chw))


class ExportedDetector(_ExportedEngine):
    """An exported detector; see ``DetectorEngine``."""

    kind = DETECTOR

    def __init__(self, session: Session, facts: ModelFacts, settings: EngineSettings) -> None:
        super().__init__(session, facts, settings)
        least = self.info.least_score(settings.doubt)
        self._rules = replace(facts.boxes, score_thr=max(facts.boxes.score_thr, least))
        self.geometry = self.prepare.geometry(self.info.window_wh)
        if self.geometry.input_chw != self.info.input_chw:
            raise ConfigError(
                f"{settings.model}: takes images of {self.info.input_chw} (C, H, W), and windows of "
                f"{self.info.window_wh} px become {self.geometry.input_chw}; leave --window-px out, or export "
                "the model with it"
            )

    def raw(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Of all priors, what ``export_graph.DetectorGraph`` gives, by name."""
        return {name: values[: len(batch)] for name, values in self._run(batch).items()}

    def __call__(self, batch: np.ndarray) -> list[WindowDetections]:
        """See ``DetectorEngine``."""
        found = self.raw(batch)
        factors = found.get(FACTORS, [None] * len(batch))
        windows = zip(found[SCORES], found[BOXES], factors, strict=True)
        return [select_boxes(one, boxes, self._rules, self.geometry, of) for one, boxes, of in windows]


class ExportedClassifier(_ExportedEngine):
    """An exported classifier; see ``ClassifierEngine``."""

    kind = CLASSIFIER

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See ``ClassifierEngine``."""
        return self._run(batch)[PROBABILITIES][: len(batch)]
