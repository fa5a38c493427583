"""Cut raw images and their COCO boxes into crops."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.coco import read_coco, write_coco
from ctc_mm.formats.crop_set import IMAGES_FOLDER, CropOptions, cut_set
from ctc_mm.formats.options import make_parser, positive_number, usage
from ctc_mm.formats.report import ConversionReport


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = make_parser(
        "Cut raw images and their COCO boxes into crops: DIR/images and DIR/FILE.json, whose names are relative to "
        "DIR/images; train, val and test may share DIR. By default crops do not overlap, as a test set needs it; "
        "random overlapping crops come with --train or --paper. Cut cells are dropped and counted; what is seen of "
        "them is an ignore region.",
        "python data_converters/raw_to_crops.py data/raw/images --boxes data/raw/train.json --out data/ctc "
        "--train --cells 3 12 --seed 0",
    )
    parser.add_argument(
        "in_dir", type=Path, metavar="IN_DIR", help="folder that the boxes file's names are relative to"
    )
    parser.add_argument("--boxes", type=Path, required=True, metavar="FILE.json", help="COCO file of the raw images")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--size", type=int, default=300, help="side of a crop, px (default: %(default)s)")
    parser.add_argument("--center", type=int, default=850, help="side of the central area, px (default: %(default)s)")
    parser.add_argument("--per-image", type=int, default=30, help="most crops of one image (default: %(default)s)")
    parser.add_argument(
        "--cells", type=int, nargs=2, metavar=("MIN", "MAX"), help="keep crops with MIN to MAX whole cells"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same crops (default: %(default)s)")
    windows = parser.add_mutually_exclusive_group()
    windows.add_argument("--train", action="store_true", help="random overlapping crops, for training only")
    windows.add_argument(
        "--paper", action="store_true", help="random overlapping crops for every use, as the paper did"
    )
    parser.add_argument(
        "--cut-cells",
        choices=("ignore", "drop"),
        default="ignore",
        help="what is seen of a cut cell is an ignore region, or background (default: %(default)s)",
    )
    parser.add_argument(
        "--gamma",
        type=usage(positive_number),
        help="gamma transform of the raw image, Eq. 1 (the paper gives no value; 1.5 darkens; default: off)",
    )
    parser.add_argument("--stretch", action="store_true", help="histogram stretch of the raw image, Eq. 2, after gamma")
    return parser


def main(argv: Sequence[str] | None = None) -> ConversionReport:
    """Cut as the arguments say; print and return the report."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        options = CropOptions(
            size=args.size,
            center=args.center,
            per_image=args.per_image,
            cells=tuple(args.cells) if args.cells else None,
            seed=args.seed,
            overlap=args.train or args.paper,
            cut_cells=args.cut_cells,
            gamma=args.gamma,
            stretch=args.stretch,
        )
    except ValueError as error:
        parser.error(str(error))

    # Named after the boxes file, so that train, val and test share one data root.
    out_json = args.out / args.boxes.name
    if out_json.resolve() == args.boxes.resolve():
        parser.error(f"--out {args.out} would overwrite {args.boxes}; give another folder")

    crops, report = cut_set(read_coco(args.boxes), args.in_dir, args.out, options, progress)
    write_coco(out_json, crops)
    if args.paper:
        print(
            "warning: crops of one raw image overlap; split by `group`, or test crops repeat training crops",
            file=sys.stderr,
        )
    print(f"{report}\nwritten: {out_json} (images in {args.out / IMAGES_FOLDER})")
    return report


if __name__ == "__main__":
    sys.exit(run_cli(main))
