"""The engine that the settings ask for; each is imported when it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctc_mm.counting.engines.base import TORCH, ClassifierEngine, DetectorEngine, EngineSettings


def build_detector_engine(settings: EngineSettings | Mapping[str, Any]) -> DetectorEngine:
    """Load a detector: a config with its checkpoint, or an exported file.

    Args:
        settings: of the engine, or of a route (the engine's part is taken).

    Raises:
        ConfigError: the settings do not fit together, or the model is a classifier.
        CheckpointError: weights or exported file cannot be read, or do not fit.
        EngineError: the device is not there.
        InstallationError: the engine's package is not installed.
    """
    settings = EngineSettings.of(settings)
    if settings.engine_name == TORCH:
        from ctc_mm.counting.engines.torch_engine import TorchDetector

        return TorchDetector.load(settings)
    from ctc_mm.counting.engines.exported import ExportedDetector

    return ExportedDetector.load(settings)


def build_classifier_engine(settings: EngineSettings | Mapping[str, Any]) -> ClassifierEngine:
    """Load a classifier of single cells; as :func:`build_detector_engine`."""
    settings = EngineSettings.of(settings)
    if settings.engine_name == TORCH:
        from ctc_mm.counting.engines.torch_engine import TorchClassifier

        return TorchClassifier.load(settings)
    from ctc_mm.counting.engines.exported import ExportedClassifier

    return ExportedClassifier.load(settings)
