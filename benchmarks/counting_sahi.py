"""Our engines as a model of SAHI.

SAHI's own adapter of MMDetection replaces ``LoadImageFromFile`` in the test pipeline and refuses configs that load
16-bit images another way, so the engine is handed over whole: the same preparation, the same batches.
"""

from __future__ import annotations

import numpy as np
from sahi.models.base import DetectionModel
from sahi.prediction import ObjectPrediction

from ctc_mm.counting.detect_stream import prepare_window
from ctc_mm.counting.engines.base import DetectorEngine, WindowDetections


class EngineModel(DetectionModel):
    """A detector engine behind SAHI's interface, with native batches.

    Args:
        engine: the detector.
        white_level: of the slide.
    """

    def __init__(self, engine: DetectorEngine, white_level: float) -> None:
        self._engine, self._white_level = engine, white_level
        self._found: list[WindowDetections] = []
        super().__init__(model=engine, device="cpu", category_mapping=dict(enumerate(engine.info.classes)))

    def set_model(self, model: DetectorEngine, **kwargs: object) -> None:
        """Take the engine."""
        self.model = model

    def perform_inference(self, image: np.ndarray) -> None:
        """One slice."""
        self.perform_batch_inference([image])

    def perform_batch_inference(self, images: list[np.ndarray]) -> None:
        """A batch of slices; those at the slide's edges are whole windows too, moved inwards."""
        batch = np.stack([prepare_window(self._engine, image, self._white_level) for image in images])
        self._found = self._engine(batch)

    def _create_object_prediction_list_from_original_predictions(
        self,
        shift_amount_list: list[list[int]] | None = None,
        full_shape_list: list[list[int]] | None = None,
    ) -> None:
        """Detections at or above the class's threshold, as SAHI's objects."""
        classes, thresholds = self._engine.info.classes, self._engine.info.thresholds
        self._object_prediction_list_per_image = [
            [
                ObjectPrediction(
                    bbox=box.tolist(),
                    category_id=int(label),
                    category_name=classes[label],
                    score=float(score),
                    shift_amount=shift_amount_list[place],
                    full_shape=full_shape_list[place],
                )
                for box, score, label in zip(*one, strict=True)
                if score >= thresholds[classes[label]]
            ]
            for place, one in enumerate(self._found)
        ]
