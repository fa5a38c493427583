"""A trained model as one file for ONNX Runtime or OpenVINO, checked against PyTorch before it is kept."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ctc_mm.counting.engines.base import DETECTOR, ONNXRUNTIME, OPENVINO, EngineSettings, ModelInfo
from ctc_mm.counting.engines.model_file import FACTS_KEY, ModelFacts
from ctc_mm.counting.engines.sessions import BOXES, FACTORS, INPUT, PROBABILITIES, SCORES
from ctc_mm.counting.engines.torch_engine import TorchModel
from ctc_mm.engine.export_check import compare_with_torch
from ctc_mm.engine.export_graph import ClassifierGraph, DetectorGraph
from ctc_mm.errors import ConfigError, InstallationError

ONNX = "onnx"
SUFFIXES = {ONNX: ".onnx", OPENVINO: ".xml"}
ENGINE_OF = {ONNX: ONNXRUNTIME, OPENVINO: OPENVINO}
COUNTS = ("images", "boxes")
# Two, since a size of 1 would be taken for a constant.
TRACED_BATCH = 2


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        paths: the file, and OpenVINO's weights beside it.
        info: of the model.
        check: how far it is from PyTorch, see ``compare_with_torch``.
    """

    paths: tuple[Path, ...]
    info: ModelInfo
    check: dict[str, float]

    def summary(self) -> str:
        """A few lines for the command line."""
        shown = {name: f"{value:.0f}" if name in COUNTS else f"{value:.3g}" for name, value in self.check.items()}
        of_all = ", ".join(f"{name} {value}" for name, value in shown.items())
        size = sum(path.stat().st_size for path in self.paths) / 1e6
        return (
            f"{self.info.kind} {self.info.name} ({', '.join(self.info.classes)}): {size:.1f} MB in "
            f"{', '.join(map(str, self.paths))}\nagainst PyTorch: {of_all}"
        )


def export_model(settings: EngineSettings, format_name: str, out: str | Path) -> ExportReport:
    """Export the model of a config and a checkpoint, with its facts, and check the file.

    Args:
        settings: ``config`` and ``checkpoint``; ``window_px`` and ``cfg_options`` go into the file.
        format_name: ``onnx`` or ``openvino``.
        out: the file to write, ending in ``.onnx`` or ``.xml`` (OpenVINO's weights are written beside it as ``.bin``).

    Raises:
        ConfigError: the format or the ending is unknown, or the model cannot be exported.
        CheckpointError: the weights cannot be read, or do not fit the config.
        EngineError: the file gives other results than PyTorch; nothing is left then.
        InstallationError: a package of the exporter is not installed.
    """
    out = Path(out)
    if format_name not in SUFFIXES:
        raise ConfigError(f"format must be {' or '.join(SUFFIXES)}. Received: {format_name!r}")
    if out.suffix.lower() != SUFFIXES[format_name]:
        raise ConfigError(f"--out of format {format_name} must end in {SUFFIXES[format_name]}. Received: {out}")
    require_packages(format_name)
    loaded = TorchModel(replace(settings, device="cpu"))
    if loaded.info.input_chw is None:
        raise ConfigError(
            f"{settings.config}: its test pipeline leaves cells as large as they are, and a file takes one size: add a "
            "Resize to the pipeline, or give --window-px"
        )
    graph, outputs, rules = _graph_of(loaded)
    facts = ModelFacts(loaded.info, tuple(loaded.steps), rules, {}, _versions(format_name))
    facts.to_text()  # what cannot be written is known before the long part
    program = _trace(graph, outputs, loaded.info.input_chw)
    write = {ONNX: _write_onnx, OPENVINO: _write_openvino}[format_name]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.stem}.", dir=out.parent) as folder:
        # Two places: an engine may still hold the file that it was checked with.
        draft, final = (Path(folder) / part / out.name for part in ("draft", "final"))
        for path in (draft, final):
            path.parent.mkdir()
        write(program, facts, draft)
        check = compare_with_torch(loaded, draft, ENGINE_OF[format_name])
        written = write(program, replace(facts, check=check), final)
        # The weights first: a file that is there can be used.
        paths = tuple(path.replace(out.with_suffix(path.suffix)) for path in sorted(written))
    return ExportReport(paths, loaded.info, check)


def require_packages(format_name: str) -> None:
    """Say which packages the exporter lacks, all at once.

    Raises:
        InstallationError: some are missing.
    """
    from importlib.util import find_spec

    wanted = ["onnx", "onnxscript", ENGINE_OF[format_name]]
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise InstallationError(f"export to {format_name} needs {', '.join(missing)}: pip install {' '.join(missing)}")


def _graph_of(loaded: TorchModel) -> tuple[torch.nn.Module, list[str], Any]:
    if loaded.info.kind == DETECTOR:
        graph = DetectorGraph(loaded.trained.model, loaded.info.input_chw)
        return graph, [SCORES, BOXES, FACTORS][: 3 if graph.has_factors else 2], graph.rules()
    return ClassifierGraph(loaded.trained.model), [PROBABILITIES], None


def _trace(graph: torch.nn.Module, outputs: list[str], input_chw: tuple[int, int, int]) -> Any:
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
        )
    ClearMetadataAndDocStringPass()(program.model)
    return program


def _write_onnx(program: Any, facts: ModelFacts, path: Path) -> list[Path]:
    program.model.metadata_props[FACTS_KEY] = facts.to_text()
    program.save(path, external_data=False)
    return [path]


def _write_openvino(program: Any, facts: ModelFacts, path: Path) -> list[Path]:
    import openvino

    onnx_path = path.with_suffix(".onnx")
    program.save(onnx_path, external_data=False)
    model = openvino.convert_model(onnx_path)
    model.set_rt_info(facts.to_text(), FACTS_KEY)
    openvino.save_model(model, path, compress_to_fp16=False)
    return [path, path.with_suffix(".bin")]


def _versions(format_name: str) -> dict[str, str]:
    names = ("torch", "onnxscript", "onedl-mmdetection", "onedl-mmpretrain", *([OPENVINO] * (format_name == OPENVINO)))
    return {name: version(name) for name in names}
