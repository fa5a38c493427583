"""Look labels over with trained models: cells that nobody marked become ignore regions, or are listed for review.

example: python tools/cross_validate.py CONFIG --folds 3 --holdout test --out work_dirs/folds
         python tools/clean_labels.py CONFIG --folds work_dirs/folds --out data/bccd/train_clean.json
"""

import argparse
import sys
from pathlib import Path

from ctc_mm.cli import add_config_options, file_name, progress, run_cli
from ctc_mm.cpu import tune_cpu


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nTraining then reads the written file (train_dataloader.dataset.ann_file). The test "
        "set is never cleaned.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_options(parser)
    parser.add_argument("checkpoints", nargs="*", metavar="CHECKPOINT", help="weights (.pth) that judge every image")
    parser.add_argument("--folds", metavar="DIR", help="cross-validation: each image by a model that never saw it")
    parser.add_argument("--out", type=file_name(".json"), required=True, metavar="FILE.json", help="COCO file to write")
    parser.add_argument("--split", choices=["train", "val"], default="train", help="whose labels (default: train)")
    parser.add_argument("--score", type=float, default=0.5, help="from which a box counts (default: %(default)s)")
    parser.add_argument("--agree", type=int, metavar="N", help="models that must find it (default: more than half)")
    parser.add_argument(
        "--as", dest="write_as", choices=["ignore", "cell"], default="ignore",
        help="finds become ignore regions (default), or cells like any other: look at the picture first",
    )  # fmt: skip
    parser.add_argument("--review", metavar="DIR", help="write labels and finds for QuPath (GeoJSON) and as COCO too")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    args = parser.parse_intermixed_args(argv)  # weights may stand behind options
    if bool(args.checkpoints) == bool(args.folds):
        parser.error("give CHECKPOINT... or --folds DIR, and not both")
    args.out = Path(args.out)
    return args


def main(argv: list[str] | None = None) -> None:
    """Judge, write, report."""
    args = parse_args(argv)
    tune_cpu()  # before torch
    from ctc_mm.engine.checkpoint import use_safe_checkpoints
    from ctc_mm.engine.label_cleaning import CleaningOptions, clean_labels
    from ctc_mm.engine.label_cleaning.judges import fold_judges, given_judges
    from ctc_mm.engine.label_cleaning.review import write_review
    from ctc_mm.engine.label_cleaning.sheet import write_sheet
    from ctc_mm.engine.setup import load_config, register_all_modules
    from ctc_mm.formats.files import require_writable, write_json

    use_safe_checkpoints(args.trust_checkpoint)
    options = CleaningOptions(args.split, args.score, args.agree, write_as=args.write_as)
    report_file, sheet = (args.out.with_name(f"{args.out.stem}_{end}") for end in ("report.json", "finds.png"))
    require_writable(args.out, report_file, sheet)
    config = load_config(args.config, args.cfg_options)
    register_all_modules(config.get("default_scope", "mmdet"))
    judges = fold_judges(args.folds) if args.folds else given_judges(config, args.checkpoints)
    report = clean_labels(
        config, judges, args.out, options, device=args.device, trust=args.trust_checkpoint, track=progress
    )
    write_json(report_file, report.to_json())
    written = [args.out, report_file, write_sheet(sheet, report)]
    if args.review:
        write_review(args.review, report)
        written.append(args.review)
    print(f"{report}\nwritten: {', '.join(map(str, written))}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
