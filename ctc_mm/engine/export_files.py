"""A traced graph as a file of ONNX or of OpenVINO, in float32 or with quantised layers."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ctc_mm.counting.engines.base import ONNXRUNTIME, OPENVINO
from ctc_mm.counting.engines.model_file import FACTS_KEY, ModelFacts
from ctc_mm.counting.engines.sessions import INPUT
from ctc_mm.engine.export_nms import translations
from ctc_mm.engine.quantisation import quantise_onnx, quantise_openvino
from ctc_mm.errors import ConfigError, InstallationError

ONNX = "onnx"
SUFFIXES = {ONNX: ".onnx", OPENVINO: ".xml"}
ENGINE_OF = {ONNX: ONNXRUNTIME, OPENVINO: OPENVINO}
# Two, since a size of 1 would be taken for a constant.
TRACED_BATCH = 2


class ModelWriter(Protocol):
    """A model that is ready to be written, as often as its facts change."""

    def write(self, facts: ModelFacts, path: Path) -> list[Path]:
        """Write it with its facts; returns the files."""


class OnnxWriter:
    """See ``ModelWriter``.

    Args:
        program: a traced graph.
        images: float32 (N, C, H, W) to calibrate with; None: the layers stay in float32.
    """

    def __init__(self, program: Any, images: np.ndarray | None) -> None:
        self._model = program.model_proto if images is None else quantise_onnx(program.model_proto, images, INPUT)

    def write(self, facts: ModelFacts, path: Path) -> list[Path]:
        """See ``ModelWriter``."""
        import onnx

        onnx.helper.set_model_props(self._model, {FACTS_KEY: facts.to_text()})
        onnx.save(self._model, path)
        return [path]


class OpenVINOWriter:
    """See ``ModelWriter`` and ``OnnxWriter``."""

    def __init__(self, program: Any, images: np.ndarray | None) -> None:
        import openvino

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            program.save(path, external_data=False)
            model = openvino.convert_model(path)
        self._model = model if images is None else quantise_openvino(model, images)

    def write(self, facts: ModelFacts, path: Path) -> list[Path]:
        """See ``ModelWriter``."""
        import openvino

        self._model.set_rt_info(facts.to_text(), FACTS_KEY)
        openvino.save_model(self._model, path, compress_to_fp16=False)
        return [path, path.with_suffix(".bin")]


WRITERS = {ONNX: OnnxWriter, OPENVINO: OpenVINOWriter}


def require_format(format_name: str, out: Path) -> None:
    """Refuse an unknown format, or a file that does not end as its format's do.

    Raises:
        ConfigError: either.
    """
    if format_name not in SUFFIXES:
        raise ConfigError(f"format must be {' or '.join(SUFFIXES)}. Received: {format_name!r}")
    if out.suffix.lower() != SUFFIXES[format_name]:
        raise ConfigError(f"--out of format {format_name} must end in {SUFFIXES[format_name]}. Received: {out}")


def require_packages(format_name: str, int8: bool = False) -> None:
    """Say which packages the exporter lacks, all at once.

    Raises:
        InstallationError: some are missing.
    """
    from importlib.util import find_spec

    wanted = ["onnx", "onnxscript", ENGINE_OF[format_name], *(["nncf"] if int8 and format_name == OPENVINO else [])]
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise InstallationError(f"export to {format_name} needs {', '.join(missing)}: pip install {' '.join(missing)}")


def trace(graph: torch.nn.Module, outputs: list[str], input_chw: tuple[int, int, int]) -> Any:
    """The graph as ONNX, any batch size; without the traces of where its code lay on this machine."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    images = torch.zeros(TRACED_BATCH, *input_chw)
    with torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            (images,),
            input_names=[INPUT],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
            custom_translation_table=translations(),
        )
    ClearMetadataAndDocStringPass()(program.model)
    return program


def versions(format_name: str, int8: bool = False) -> dict[str, str]:
    """Versions of what makes a file."""
    names = ["torch", "onnxscript", "onedl-mmdetection", "onedl-mmpretrain"]
    names += [OPENVINO] * (format_name == OPENVINO) + [_quantiser(format_name)] * int8
    return {name: version(name) for name in names}


def _quantiser(format_name: str) -> str:
    return "nncf" if format_name == OPENVINO else ONNXRUNTIME
