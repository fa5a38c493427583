"""Exported graphs run by ONNX Runtime and OpenVINO: load, facts, one batch in, arrays out."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from ctc_mm.counting.engines.base import ONNXRUNTIME, OPENVINO, EngineSettings
from ctc_mm.counting.engines.failures import failures_named
from ctc_mm.counting.engines.model_file import FACTS_KEY
from ctc_mm.errors import CheckpointError, EngineError, InstallationError

INPUT, SCORES, BOXES, FACTORS, PROBABILITIES = "images", "scores", "boxes_xyxy", "factors", "probabilities"
# Of a graph that selects boxes: padded with rows of score 0 and label -1.
SELECTED = (SELECTED_SCORES, SELECTED_LABELS, SELECTED_BOXES) = (
    "selected_scores",
    "selected_labels",
    "selected_boxes_xyxy",
)


class Session(Protocol):
    """A graph that is ready to run; ``facts`` is the text in its file, None where there is none."""

    facts: str | None

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name, for a float32 batch of the size the session was opened with."""


def open_session(settings: EngineSettings) -> Session:
    """Load the exported file of the settings.

    Raises:
        CheckpointError: it is missing or cannot be read.
        EngineError: the device is not there.
        InstallationError: the engine's package is not installed.
    """
    path = Path(settings.model).expanduser()
    if not path.is_file():
        raise CheckpointError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    if settings.engine_name == OPENVINO:
        return OpenVINOSession(path, settings)
    if path.suffix.lower() == ".xml":
        raise CheckpointError(f"{path}: a model of OpenVINO; give --engine openvino, or export it with --format onnx")
    return OnnxSession(path, settings)


class OnnxSession:
    """A graph in ONNX Runtime."""

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        runtime = _import("onnxruntime", ONNXRUNTIME)
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors: warnings of constant folding mean nothing to a user
        if settings.threads is not None:
            options.intra_op_num_threads = settings.threads
        self._name, self._device = str(path), settings.device
        providers = _onnx_providers(settings.device, runtime.get_available_providers())
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # its own classes derive from Exception alone
            raise _unreadable(path, "ONNX", error) from error
        self.facts: str | None = self._session.get_modelmeta().custom_metadata_map.get(FACTS_KEY)
        self._outputs = [one.name for one in self._session.get_outputs()]

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """See ``Session``."""
        with failures_named(self._name, len(batch), self._device):
            found = self._session.run(None, {INPUT: batch})
        return dict(zip(self._outputs, found, strict=True))


def _onnx_providers(device: str, available: list[str]) -> list[Any]:
    kind, _, place = device.partition(":")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    provider = f"{kind.upper()}ExecutionProvider"
    if provider not in available:
        raise EngineError(
            f"device {device!r}: this ONNX Runtime has no {provider} (it has {', '.join(available)}); install "
            "onnxruntime-gpu in the place of onnxruntime for cuda, or give --device cpu"
        )
    return [(provider, {"device_id": int(place or 0)}), "CPUExecutionProvider"]


class OpenVINOSession:
    """A graph in OpenVINO, at float32 throughout (its default on new processors is bfloat16).

    Args:
        path: of the file.
        settings: how to run it.
        precision: of the layers that are not quantised, ``f32`` or ``bf16``.
    """

    def __init__(self, path: Path, settings: EngineSettings, precision: str = "f32") -> None:
        core, device = _openvino_core(), settings.device.upper().replace(":", ".")
        if device.partition(".")[0] not in {name.partition(".")[0] for name in core.available_devices}:
            raise EngineError(
                f"device {settings.device!r}: OpenVINO finds {', '.join(core.available_devices)} here; give one of them"
            )
        try:
            model = core.read_model(path)
        except Exception as error:  # OpenVINO throws RuntimeError, and others of its own
            raise _unreadable(path, "OpenVINO (.xml with its .bin beside it, or .onnx)", error) from error
        # An .onnx file's metadata lies one level deeper.
        places = [place for place in ([FACTS_KEY], ["framework", FACTS_KEY]) if model.has_rt_info(place)]
        self.facts: str | None = model.get_rt_info(places[0]).astype(str) if places else None
        self._name, self._device = str(path), settings.device
        properties = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        if settings.threads is not None:
            properties["INFERENCE_NUM_THREADS"] = settings.threads
        with failures_named(self._name, settings.batch_size, self._device):
            shape = model.inputs[0].partial_shape
            model.reshape([settings.batch_size, *(shape[place] for place in range(1, len(shape)))])
            self._model = core.compile_model(model, device, properties)
        self._outputs = [one.any_name for one in self._model.outputs]

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """See ``Session``."""
        with failures_named(self._name, len(batch), self._device):
            found = self._model({INPUT: batch}, share_inputs=True)
        return {name: np.array(found[name]) for name in self._outputs}


@cache
def _openvino_core() -> Any:
    """One for the process, never given back.

    OpenVINO's CPU plugin gives the thread that loads it a stack of its own for signals, and takes it away when the last
    core goes, in whatever thread that happens. The next signal that Python handles (Ctrl-C, the end of a loader's
    worker) then ends the process without a word.
    """
    return _import("openvino", OPENVINO).Core()


def _import(module: str, engine: str) -> ModuleType:
    try:
        return __import__(module)
    except ImportError as error:
        raise InstallationError(
            f"engine {engine} needs the package {module}: pip install {module} ({error})"
        ) from error


def _unreadable(path: Path, format_name: str, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split())[:200]
    return CheckpointError(
        f"{path}: cannot be read as a model of {format_name}; make it anew with tools/export.py ({reason})"
    )
