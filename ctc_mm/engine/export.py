"""A trained model as one file for ONNX Runtime or OpenVINO, checked against PyTorch before it is kept."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctc_mm.counting.engines.base import DETECTOR, EngineSettings, ModelInfo
from ctc_mm.counting.engines.model_file import FLOAT32, INSIDE, INT8, OUTSIDE, BoxRules, ModelFacts
from ctc_mm.counting.engines.preparation import Preparation
from ctc_mm.counting.engines.sessions import BOXES, FACTORS, PROBABILITIES, SCORES, SELECTED
from ctc_mm.counting.engines.torch_engine import TorchModel
from ctc_mm.counting.setting_checks import is_size
from ctc_mm.engine.export_check import CHECKED_IMAGES, compare_with_torch, drawn_images
from ctc_mm.engine.export_files import ENGINE_OF, WRITERS, require_format, require_packages, trace, versions
from ctc_mm.engine.export_graph import ClassifierGraph, DetectorGraph, SelectingGraph
from ctc_mm.engine.split_images import images_of_split
from ctc_mm.errors import ConfigError
from ctc_mm.formats.files import require_writable

COUNTS, FIGURES = ("images", "boxes"), "figures"
SPLITS = ("val", "test")
DRAWN, TRAIN = "drawn", "train"
CHECKED_ON = (DRAWN, TRAIN, *SPLITS)


@dataclass(frozen=True)
class ExportOptions:
    """What kind of file is made.

    Attributes:
        nms: of a detector: boxes are selected ``outside`` of the file, by one function for all engines, or ``inside``
            by its graph, for programs that know nothing of this project.
        int8: layers in whole numbers of 8 bits instead of float32.
        calibration_images: of int8: most images of the training set from which the ranges of the layers are taken.
        check_ap: ``val`` or ``test``: run file and PyTorch on that set of the config, and report what is lost.
        check_images: where the images come from that file and PyTorch are compared on: ``drawn``, or the config's
            ``train``, ``val`` or ``test`` set; None: ``drawn``, of int8 ``train``.

    Raises:
        ConfigError: an unknown word, or no calibration image.
    """

    nms: str = OUTSIDE
    int8: bool = False
    calibration_images: int = 100
    check_ap: str | None = None
    check_images: str | None = None

    def __post_init__(self) -> None:
        if self.nms not in (OUTSIDE, INSIDE):
            raise ConfigError(f"nms must be {OUTSIDE} or {INSIDE}. Received: {self.nms!r}")
        if self.check_ap not in (None, *SPLITS):
            raise ConfigError(f"check_ap must be {' or '.join(SPLITS)}. Received: {self.check_ap!r}")
        if self.check_images not in (None, *CHECKED_ON):
            raise ConfigError(f"check_images must be one of {', '.join(CHECKED_ON)}. Received: {self.check_images!r}")
        if not is_size(self.calibration_images):
            raise ConfigError(
                f"calibration_images must be a whole number above 0. Received: {self.calibration_images!r}"
            )

    @property
    def checked_on(self) -> str:
        """The images of the check, also where none were asked for."""
        return self.check_images or (TRAIN if self.int8 else DRAWN)


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        paths: the file, and OpenVINO's weights beside it.
        info: of the model.
        check: how far it is from PyTorch, see ``compare_with_torch``; with ``check_ap`` the ``figures`` of both, see
            ``figures_of_both``.
        precision: ``float32`` or ``int8``.
        checked_on: the images of the check, see ``ExportOptions``.
    """

    paths: tuple[Path, ...]
    info: ModelInfo
    check: dict[str, Any]
    precision: str = FLOAT32
    checked_on: str = DRAWN

    def summary(self) -> str:
        """A few lines for the command line; one a figure where both were tested."""
        found = {name: value for name, value in self.check.items() if name != FIGURES}
        shown = {name: f"{value:.0f}" if name in COUNTS else f"{value:.3g}" for name, value in found.items()}
        of_all = ", ".join(f"{name} {value}" for name, value in shown.items())
        size = sum(path.stat().st_size for path in self.paths) / 1e6
        precision = "" if self.precision == FLOAT32 else f" in {self.precision}"
        return (
            f"{self.info.kind} {self.info.name}{precision} ({', '.join(self.info.classes)}): {size:.1f} MB in "
            f"{', '.join(map(str, self.paths))}\nagainst PyTorch, on {self.checked_on} images: {of_all}"
            f"{_table(self.check[FIGURES]) if FIGURES in self.check else ''}"
        )


def _table(figures: dict[str, dict[str, float | None]]) -> str:
    width = max(map(len, figures), default=0)
    rows = [("", "file", "PyTorch")]
    for name, both in figures.items():
        rows.append((name, *("-" if value is None else f"{value:.4f}" for value in both.values())))
    return "".join(f"\n{name:<{width}} {file:>9} {weights:>9}" for name, file, weights in rows)


def export_model(
    settings: EngineSettings, format_name: str, out: str | Path, options: ExportOptions | None = None
) -> ExportReport:
    """Export the model of a config and a checkpoint, with its facts, and check the file.

    Args:
        settings: ``config`` and ``checkpoint``; ``window_px`` and ``cfg_options`` go into the file.
        format_name: ``onnx`` or ``openvino``.
        out: the file to write, ending in ``.onnx`` or ``.xml`` (OpenVINO's weights are written beside it as ``.bin``).
        options: what kind of file; None: float32, boxes selected outside.

    Raises:
        ConfigError: the format or the ending is unknown, or the model cannot be exported.
        CheckpointError: the weights cannot be read, or do not fit the config.
        EngineError: the file gives other results than PyTorch; nothing is left then.
        InstallationError: a package of the exporter is not installed.
        OSError: the file cannot be written.
    """
    out, options = Path(out), options or ExportOptions()
    require_format(format_name, out)
    require_packages(format_name, options.int8)
    require_writable(out)
    loaded = TorchModel(replace(settings, device="cpu"))
    if loaded.info.input_chw is None:
        raise ConfigError(
            f"{settings.config}: its test pipeline leaves cells as large as they are, and a file takes one size: add a "
            "Resize to the pipeline, or give --window-px"
        )
    graph, outputs, rules = graph_of(loaded, options)
    images = _images(loaded, TRAIN, options.calibration_images) if options.int8 else None
    checked = _checked_images(loaded, options)
    facts = facts_of(loaded, format_name, options, rules, images)
    facts.to_text()  # what cannot be written is known before the long part
    writer = WRITERS[format_name](trace(graph, outputs, loaded.info.input_chw), images)
    with tempfile.TemporaryDirectory(prefix=f".{out.stem}.", dir=out.parent) as folder:
        # Two places: an engine may still hold the file that it was checked with.
        draft, final = (Path(folder) / part / out.name for part in ("draft", "final"))
        for path in (draft, final):
            path.parent.mkdir()
        writer.write(facts, draft)
        check = _check(loaded, settings, draft, ENGINE_OF[format_name], options, checked)
        written = writer.write(replace(facts, check=check), final)
        # The weights first: a file that is there can be used.
        paths = tuple(path.replace(out.with_suffix(path.suffix)) for path in sorted(written))
    return ExportReport(paths, loaded.info, check, facts.precision, options.checked_on)


def graph_of(loaded: TorchModel, options: ExportOptions) -> tuple[torch.nn.Module, list[str], BoxRules | None]:
    """What is traced, the names of its outputs, and the rules by which a detector's boxes are selected.

    Raises:
        ConfigError: the model cannot be exported, or not so.
    """
    info = loaded.info
    if info.kind != DETECTOR:
        if options.nms == INSIDE:
            raise ConfigError(f"{info.name}: a classifier has no boxes; --nms inside is for detectors")
        return ClassifierGraph(loaded.trained.model), [PROBABILITIES], None
    graph = DetectorGraph(loaded.trained.model, info.input_chw)
    if options.nms == INSIDE:
        geometry = Preparation(loaded.steps, info).geometry(info.window_wh)
        return SelectingGraph(graph, geometry, info.name), list(SELECTED), graph.rules()
    return graph, [SCORES, BOXES, FACTORS][: 3 if graph.has_factors else 2], graph.rules()


def _images(loaded: TorchModel, split: str, count: int) -> np.ndarray:
    return images_of_split(loaded.config, split, count, loaded.info.input_chw, loaded.info.white_level)


def _checked_images(loaded: TorchModel, options: ExportOptions) -> np.ndarray:
    """Images that file and PyTorch are compared on."""
    if options.checked_on == DRAWN:
        return drawn_images(loaded.info.input_chw)
    return _images(loaded, options.checked_on, CHECKED_IMAGES)


def facts_of(
    loaded: TorchModel, format_name: str, options: ExportOptions, rules: BoxRules | None, images: np.ndarray | None
) -> ModelFacts:
    """What is written into the file, but for what its check finds."""
    made_of = versions(format_name, options.int8)
    facts = ModelFacts(
        loaded.info, tuple(loaded.steps), rules, {}, made_of, nms=options.nms, checked_on=options.checked_on
    )
    if images is None:
        return facts
    return replace(facts, precision=INT8, calibration={"images": len(images), "split": "train"})


def _check(
    loaded: TorchModel,
    settings: EngineSettings,
    path: Path,
    engine: str,
    options: ExportOptions,
    images: np.ndarray,
) -> dict[str, Any]:
    """How far the file is from PyTorch: on a few images, and with ``check_ap`` on a whole set."""
    found = compare_with_torch(loaded, path, engine, images)
    if options.check_ap is not None:
        from ctc_mm.engine.export_accuracy import figures_of_both

        trust = settings.trust_checkpoint
        found[FIGURES] = figures_of_both(loaded.config, settings.checkpoint, trust, path, options.check_ap)
    return found
