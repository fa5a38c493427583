"""Cut the boxes of a COCO file into single cells: folders by class, and cells.csv."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.cell_set import CELLS_FILE
from ctc_mm.formats.coco import read_coco
from ctc_mm.formats.coco_cells import CocoCellOptions, cut_cells
from ctc_mm.formats.options import make_parser, positive_number, usage
from ctc_mm.formats.report import ConversionReport


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = make_parser(
        "Cut the boxes of a COCO file into single cells: DIR/SPLIT/CLASS/FILE and DIR/cells.csv, one row a cell. "
        "Ignore regions are left out and images without cells passed over, both counted; group, scale and channel of "
        "the images are carried on.",
        "python data_converters/coco_to_cells.py data/ctc/train.json --images data/ctc/images --out data/cells "
        "--size 30",
    )
    parser.add_argument("file", type=Path, metavar="FILE.json", help="COCO file with boxes and classes")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder its file names start from")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--size", type=int, metavar="PX", help="side of a square crop around each box' middle")
    size.add_argument("--size-um", type=usage(positive_number), metavar="UM", help="the same in micrometres")
    size.add_argument(
        "--margin",
        type=float,
        default=0.1,
        metavar="PART",
        help="without a size: the box' longer side and this part of it on each side (default: %(default)s)",
    )
    parser.add_argument(
        "--edge",
        choices=("pad", "skip"),
        default="pad",
        help="crops that leave the image: repeat its edge, or leave the cell out, counted (default: %(default)s)",
    )
    parser.add_argument("--normalize", action="store_true", help="normalise background and brightness of each crop")
    parser.add_argument("--um-per-px", type=usage(positive_number), help="scale of images that do not say theirs")
    parser.add_argument("--split", default="all", help="split written to cells.csv (default: %(default)s, none yet)")
    parser.add_argument("--overwrite", action="store_true", help="replace another set of cells in DIR")
    return parser


def main(argv: Sequence[str] | None = None) -> ConversionReport:
    """Cut as the arguments say; print and return the report."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        options = CocoCellOptions(
            args.size, args.size_um, args.margin, args.edge, args.normalize, args.um_per_px, args.split, args.overwrite
        )
    except ValueError as error:
        parser.error(str(error))
    report = cut_cells(read_coco(args.file), args.images, args.out, options, progress)
    print(f"{report}\nwritten: {args.out / CELLS_FILE}")
    return report


if __name__ == "__main__":
    sys.exit(run_cli(main))
