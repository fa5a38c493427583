"""The engines side by side: the same model on the same batches in PyTorch, ONNX Runtime and OpenVINO, taking turns.

Each model is exported into a temporary folder, which checks it against PyTorch. A time is one call of the engine, from
prepared windows (or cells) to boxes above the model's thresholds (or probabilities); each round is divided by PyTorch's
time of the same round. Weights are random where no checkpoint is given.

example: python benchmarks/engines.py configs/ssd_cbam_vgg16_ctc.py configs/lite/ssdlite_mobilenetv2_ctc.py=best.pth
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import clock, config_from_scratch, in_turn, machine, markdown_table, ratios, start

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.files import write_json

HEADERS = ("model", "engine", "processor time, PyTorch's = 1", "faster by", "score difference")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="CONFIG[=CHECKPOINT]", help="detectors and classifiers")
    parser.add_argument("--batch-size", type=int, default=4, metavar="N", help="images a batch (default: 4)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds over the engines (default: 5)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each engine (default: 1)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all numbers there too")
    args = parser.parse_args(argv)
    if min(args.batch_size, args.rounds, args.threads) < 1:
        parser.error("--batch-size, --rounds and --threads start at 1")
    return args


def random_checkpoint(config: str, folder: Path) -> str:
    """Weights as a training begins with them, without pretrained ones."""
    import torch
    from mmengine.registry import MODELS, DefaultScope

    built = config_from_scratch(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(built.default_scope):
        model = MODELS.build(built.model)
        model.init_weights()
    torch.save({"state_dict": model.state_dict(), "meta": {}}, folder / "random.pth")
    return str(folder / "random.pth")


def engines_of(config: str, checkpoint: str, args: argparse.Namespace, folder: Path) -> tuple[dict, dict[str, float]]:
    """Every engine with the model, and how far the exported ones are from PyTorch."""
    from ctc_mm.counting.engines import EngineSettings, build_classifier_engine, build_detector_engine
    from ctc_mm.engine.export import ENGINE_OF, SUFFIXES, export_model

    source = {"config": config, "checkpoint": checkpoint}
    options: dict[str, Any] = {"batch_size": args.batch_size, "threads": args.threads, "doubt": 1.0}
    built, differences = {}, {"torch": 0.0}
    for name, suffix in SUFFIXES.items():
        report = export_model(EngineSettings(**source), name, folder / f"model{suffix}")
        build = build_detector_engine if report.info.kind == "detector" else build_classifier_engine
        built.setdefault("torch", build({**source, **options}))
        built[ENGINE_OF[name]] = build({"model": str(folder / f"model{suffix}"), **options})
        differences[ENGINE_OF[name]] = report.check["score_difference"]
    return built, differences


def compare(model: str, args: argparse.Namespace) -> dict[str, Any]:
    """Times of every engine in every round, in processor seconds, and the differences of the scores."""
    import torch

    from ctc_mm.engine.export_check import drawn_images

    config, _, checkpoint = model.partition("=")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engines, differences = engines_of(config, checkpoint or random_checkpoint(config, folder), args, folder)
        batch = drawn_images(engines["torch"].info.input_chw, args.batch_size)
        times: dict[str, list[float]] = {engine: [] for engine in engines}
        for index in progress(range(-1, args.rounds), Path(config).stem):
            for engine in in_turn(list(engines), index):
                _, processor_s = clock(lambda engine=engine: engines[engine](batch), torch.device("cpu"))
                if index >= 0:  # the round before warms up
                    times[engine].append(processor_s)
    return {"model": Path(config).stem, "processor_s": times, "score_difference": differences}


def rows_of(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Lines of the table for one model."""
    times, rows = result["processor_s"], []
    for engine, values in times.items():
        share = ratios(values, times["torch"])
        difference = f"{result['score_difference'][engine]:.1g}" if engine != "torch" else ""
        rows.append((result["model"], engine, str(share), f"{1 / share.median:.1f} x", difference))
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, print a table, and write the numbers."""
    args = parse_args(argv)
    start(args.threads)
    import torch

    results = [compare(model, args) for model in args.models]
    print(markdown_table(HEADERS, [row for result in results for row in rows_of(result)]))
    if args.out is not None:
        write_json(
            args.out, {"machine": machine(torch.device("cpu")), "batch_size": args.batch_size, "models": results}
        )


if __name__ == "__main__":
    sys.exit(run_cli(main))
