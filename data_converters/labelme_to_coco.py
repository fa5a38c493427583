"""Convert Labelme JSON files to COCO JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.coco import write_coco
from ctc_mm.formats.labelme_folder import LabelmeFolder, convert_labelme
from ctc_mm.formats.options import add_label_options, add_set_options, label_rules, make_parser, set_options
from ctc_mm.formats.report import ConversionReport


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = make_parser(
        "Convert Labelme JSON files to COCO JSON. Rectangles, polygons, circles, point lists, masks and oriented "
        "rectangles become boxes; shapes of one group_id are one cell; a shape labelled __ignore__ is neither cell nor "
        "background. Fields saved without a shape stay in the set.",
        "python data_converters/labelme_to_coco.py data/ctc/labels --images data/ctc/images "
        "--labels H1299=CTC --um-per-px 0.42 --out data/ctc/train.json",
    )
    parser.add_argument("in_dir", type=Path, metavar="IN_DIR", help="folder of the Labelme files")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="COCO file to write")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="ROOT",
        help="folder that holds all images; file names are written relative to it (default: the parent of IN_DIR)",
    )
    parser.add_argument(
        "--extract-embedded",
        action="store_true",
        help="where an image is missing, write the 8-bit copy that its label file embeds to ROOT/embedded and use that",
    )
    parser.add_argument(
        "--unlabelled-as-empty",
        action="store_true",
        help="take images without label file as fields without cells (default: leave them out, counted)",
    )
    add_label_options(parser)
    add_set_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> ConversionReport:
    """Convert as the arguments say; print and return the report."""
    args = build_parser().parse_args(argv)
    folder = LabelmeFolder(
        in_dir=args.in_dir,
        images_root=args.images if args.images is not None else args.in_dir.resolve().parent,
        out=args.out,
        extract_embedded=args.extract_embedded,
        unlabelled_as_empty=args.unlabelled_as_empty,
    )
    labelled, report = convert_labelme(folder, label_rules(args), set_options(args), progress)
    write_coco(args.out, labelled)
    print(f"{report}\nwritten: {args.out}")
    return report


if __name__ == "__main__":
    sys.exit(run_cli(main))
