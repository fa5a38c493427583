r"""Train the nucleus network of ``segment_nuclei(method="learned")``, and say how good it is on fields it has not seen.

Each round trains from scratch: "fold_0" to "fold_3" hold out every fourth field, "--microscopes" holds out all fields
of one kind, and "final" trains on all fields and writes --out. A round that was interrupted goes on where it was; one
that is done is not repeated. Several rounds may run at once, in processes of their own (--rounds).

example: python benchmarks/train_nuclei.py --data ../shared/data --work-dir work_dirs/nuclei_net --microscopes \
             --out ctc_mm/imaging/weights/nuclei.onnx
         python benchmarks/train_nuclei.py --rounds fold_0 fold_1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common import ROOT, markdown_table

from ctc_mm.cli import progress, run_cli
from ctc_mm.cpu import tune_cpu
from ctc_mm.formats.files import atomic_write_bytes, write_json

if TYPE_CHECKING:
    from ctc_mm.models.nuclei_net.training import TrainSettings
    from ctc_mm.models.nuclei_net.validation import Split

FOLDS = 4
FINAL = "final"
REPORT_EVERY = 100


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared/data", help="folder of nuclei_bbbc039 and nuclei_dsb2018"
    )
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/nuclei_net", help="checkpoints and scores")
    parser.add_argument("--microscopes", action="store_true", help="hold out kinds of fields too")
    parser.add_argument("--rounds", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--steps", type=int, default=3000, metavar="N", help="batches a round (default: 3000)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and patches (default: 0)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch's threads (default: 1)")
    parser.add_argument("--out", type=Path, metavar="FILE.onnx", help="where the final network goes")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the rounds and print their scores."""
    args = parse_args(argv)
    tune_cpu()
    import torch

    from ctc_mm.models.nuclei_net.fields import SOURCES, read_fields
    from ctc_mm.models.nuclei_net.training import TrainSettings
    from ctc_mm.models.nuclei_net.validation import Split, folds_by_image, folds_by_microscope

    torch.set_num_threads(args.threads)
    settings = TrainSettings(steps=args.steps, seed=args.seed)
    fields = [field for source in SOURCES for field in read_fields(args.data, source)]
    rounds = folds_by_image(fields, FOLDS)
    rounds += folds_by_microscope(fields) if args.microscopes else []
    rounds.append(Split(FINAL, (), tuple(fields)))
    names = [part.name for part in rounds]
    if unknown := sorted(set(args.rounds or ()) - set(names)):
        raise ValueError(f"--rounds must be of {', '.join(names)}. Received: {', '.join(unknown)}")
    for part in rounds:
        if args.rounds is None or part.name in args.rounds:
            run_round(part, settings, args.work_dir)
    if args.out:
        atomic_write_bytes(args.out, (args.work_dir / f"{FINAL}.onnx").read_bytes())
    print_scores(rounds, args.work_dir)


def run_round(part: Split, settings: TrainSettings, work_dir: Path) -> None:
    """Train on a round's fields, and export the network."""
    from ctc_mm.models.nuclei_net.export import export_onnx
    from ctc_mm.models.nuclei_net.training import load_trained, train, training_groups

    checkpoint = work_dir / f"{part.name}.pth"
    groups, shares = training_groups(part.training, settings.seed)
    losses = []
    for step, loss in progress(train(groups, shares, settings, checkpoint), part.name, settings.steps):
        losses.append(loss)
        if (step + 1) % REPORT_EVERY == 0:
            print(f"{part.name}: step {step + 1}, loss {sum(losses) / len(losses):.4f}", flush=True)
            losses.clear()
    export_onnx(load_trained(checkpoint), work_dir / f"{part.name}.onnx")


def print_scores(rounds: Sequence[Split], work_dir: Path) -> None:
    """Test each network that is there on what its round held out; the folds together too."""
    from ctc_mm.models.nuclei_net.validation import check_weights, scores_by_source

    matches = {
        part.name: check_weights(weights, part.held_out)
        for part in rounds
        if part.held_out and (weights := work_dir / f"{part.name}.onnx").exists()
    }
    folds = [found for name, found in matches.items() if name.startswith("fold_")]
    if len(folds) > 1:
        matches[f"{len(folds)} folds together"] = {field: match for found in folds for field, match in found.items()}
    scores = {name: scores_by_source(found) for name, found in matches.items()}
    write_json(work_dir / "scores.json", scores)
    rows = [
        [name, source, *(f"{value:.3f}" for value in values.values())]
        for name, sources in scores.items()
        for source, values in sources.items()
    ]
    headers = ["round", "source", "F1", "F1, mean of fields", "count error", "count error, mean of fields"]
    print(markdown_table(headers, rows))


if __name__ == "__main__":
    sys.exit(run_cli(main))
