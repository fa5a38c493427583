"""Find the cells in bright-field images: crops and cells.csv, COCO JSON, and Labelme files to correct."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.brightfield_cells import COCO_FILE, LABELME_FOLDER, BrightfieldOptions, convert_brightfield
from ctc_mm.formats.cell_set import CELLS_FILE
from ctc_mm.formats.marker_labels import MarkerOptions, default_negative, parse_markers
from ctc_mm.formats.options import group_pattern, make_parser, positive_number, usage
from ctc_mm.formats.report import ConversionReport


def _place_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = make_parser(
        "Find the cells in bright-field images and write them as single cells (DIR/all/CLASS/FILE, DIR/cells.csv), as "
        "boxes and outlines (DIR/cells.json, COCO) and as Labelme files to correct by hand (DIR/labelme). Cells that "
        "overlap, are out of focus, irregular or cut have keep false and the reasons in cells.csv. See "
        "docs/guides/brightfield.md.",
        "python data_converters/brightfield_to_cells.py data/raw/bf --labels CTC=data/raw/red,WBC=data/raw/green "
        "--um-per-px 0.32 --group-pattern '(P[0-9]+)_' --out data/cells",
    )
    parser.add_argument("in_dir", type=Path, metavar="IN_DIR", help="folder of bright-field images")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to, outside of IN_DIR")
    parser.add_argument(
        "--um-per-px", type=usage(positive_number), help="micrometres per pixel (default: the files', or as 0.6)"
    )
    parser.add_argument(
        "--channel", type=_place_or_name, metavar="PLACE|NAME", help="bright field among several channels"
    )
    parser.add_argument(
        "--diameter-um", type=usage(positive_number), nargs=2, default=(6.0, 30.0), metavar=("MIN", "MAX"),
        help="smallest and largest cell (default: 6 30)",
    )  # fmt: skip
    parser.add_argument("--method", choices=("robust", "paper"), default="robust", help="how (default: %(default)s)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--size", type=int, default=30, metavar="PX", help="side of a crop (default: %(default)s)")
    size.add_argument("--size-um", type=usage(positive_number), metavar="UM", help="the same in micrometres")
    parser.add_argument("--raw-crops", action="store_true", help="do not normalise background and brightness")
    parser.add_argument(
        "--group-pattern", type=usage(group_pattern), metavar="REGEX", help="finds the patient in names"
    )
    parser.add_argument("--white-level", type=usage(positive_number), help="pixel value that is white (COCO, Labelme)")
    parser.add_argument("--keep-table", type=Path, metavar="FILE", help="cell_id and keep, as in an edited cells.csv")
    parser.add_argument("--overwrite", action="store_true", help="replace another set, and corrected Labelme files")
    labels = parser.add_argument_group("classes from fluorescence images of the same fields")
    labels.add_argument("--labels", type=usage(parse_markers), metavar="DIR|CTC=DIR,WBC=DIR", help="what stains whom")
    labels.add_argument("--negative", metavar="CLASS", help="unstained cells (default: WBC if only CTCs are stained)")
    labels.add_argument("--threshold", type=usage(positive_number), help="grey values above background (default: auto)")
    labels.add_argument("--max-shift", type=float, default=30.0, metavar="PX", help="farthest (default: %(default)s)")
    labels.add_argument("--shift", type=float, nargs=2, metavar=("X", "Y"), help="known shift, px (default: measured)")
    return parser


def main(argv: Sequence[str] | None = None) -> ConversionReport:
    """Convert as the arguments say; print and return the report."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.labels is None and (args.negative or args.threshold or args.shift):
        parser.error("--negative, --threshold and --shift need --labels")
    try:
        markers = None
        if args.labels is not None:
            negative = args.negative or default_negative(args.labels)
            shift_xy = tuple(args.shift) if args.shift else None
            markers = MarkerOptions(args.labels, negative, args.threshold, args.max_shift, shift_xy)
        options = BrightfieldOptions(
            args.um_per_px, tuple(args.diameter_um), args.method, args.size, args.size_um, not args.raw_crops,
            args.group_pattern, args.white_level, markers, args.keep_table, args.overwrite, args.channel,
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    _, report = convert_brightfield(args.in_dir, args.out, options, progress)
    print(f"{report}\nwritten: {args.out / CELLS_FILE}, {args.out / COCO_FILE}, {args.out / LABELME_FOLDER}")
    return report


if __name__ == "__main__":
    sys.exit(run_cli(main))
