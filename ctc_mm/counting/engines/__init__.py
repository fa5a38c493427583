"""What runs a model on windows or single cells: PyTorch, ONNX Runtime or OpenVINO behind one small interface."""

from ctc_mm.counting.engines.base import (
    ENGINES,
    ClassifierEngine,
    DetectorEngine,
    EngineSettings,
    ModelInfo,
    WindowDetections,
)
from ctc_mm.counting.engines.build import build_classifier_engine, build_detector_engine

__all__ = [
    "ENGINES",
    "ClassifierEngine",
    "DetectorEngine",
    "EngineSettings",
    "ModelInfo",
    "WindowDetections",
    "build_classifier_engine",
    "build_detector_engine",
]
