"""Draw what is found in an image: nuclei, bright-field cells, or the verdicts of the imFISH rule; print the numbers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.options import make_parser, positive_number, usage
from ctc_mm.imaging.cell_picture import draw_cells
from ctc_mm.imaging.cells import DIAMETER_UM
from ctc_mm.imaging.channels import parse_channel_map
from ctc_mm.imaging.one_field import open_bright_field, open_one_field
from ctc_mm.imaging.overlay import parse_region, parse_zoom
from ctc_mm.imaging.pictures import Picture, draw_nuclei
from ctc_mm.imfish import classify_field
from ctc_mm.imfish.picture import draw_imfish

METHODS, MODES = ("robust", "paper", "learned"), ("full", "paper")
NEEDED = {"nuclei": ["dapi"], "imfish": ["dapi", "cep8"]}


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = make_parser(
        "Draw what is found in an image: outlines of nuclei or bright-field cells, or the verdicts of the imFISH rule "
        "with the CEP8 signals counted; with scale bar and legend. Thresholds are always those of the whole image.",
        "python tools/inspect_image.py slide1.ome.tif --what imfish --out slide1.png "
        "--channels dapi=0,cep8=SpectrumOrange,cd45=2",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="image file, or a folder with the files of one field")
    parser.add_argument("--what", choices=("nuclei", "cells", "imfish"), required=True, help="what to look for")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="picture to write")
    parser.add_argument(
        "--channels",
        type=usage(parse_channel_map),
        metavar="OURS=THEIRS,...",
        help="dapi, cep8, cd45 (cells: brightfield) by place from 0, by name in the file, or by file name pattern "
        "where each is a file of its own (dapi=*_w1.tif,...); default: by the names in the file",
    )
    parser.add_argument("--um-per-px", type=usage(positive_number), help="micrometres per pixel (default: the file's)")
    parser.add_argument("--region", type=usage(parse_region), metavar="X0,Y0,X1,Y1", help="show these pixels only")
    parser.add_argument(
        "--zoom", type=usage(parse_zoom), help="picture pixels per image pixel: 4, 2, 1, 0.5, ... (default: by size)"
    )
    parser.add_argument("--method", choices=METHODS, default=METHODS[0], help="how objects are found (%(default)s)")
    parser.add_argument("--mode", choices=MODES, help="imFISH rule: all criteria, or signals only (default: full)")
    parser.add_argument(
        "--diameter-um",
        type=usage(positive_number),
        nargs=2,
        metavar=("LEAST", "MOST"),
        help=f"diameters of a bright-field cell (default: {DIAMETER_UM[0]:g} {DIAMETER_UM[1]:g})",
    )
    return parser


def draw(args: argparse.Namespace) -> Picture:
    """Open the image and draw what was asked for."""
    source = (args.image, args.channels, args.um_per_px)
    shown = {"method": args.method, "region_xyxy": args.region, "zoom": args.zoom}
    if args.what == "cells":
        opened = open_bright_field(*source)
    else:
        opened = open_one_field(*source, needed=NEEDED[args.what], optional=["cd45"])
    with opened as field:
        if args.out.resolve() in [path.resolve() for path in field.paths]:
            raise ValueError(f"{args.out}: is the image itself, which the picture would replace; choose another --out")
        if args.what == "nuclei":
            return draw_nuclei(field, "dapi", **shown)
        if args.what == "cells":
            return draw_cells(field, diameter_um=tuple(args.diameter_um or DIAMETER_UM), **shown)
        result = classify_field(field, mode=args.mode, method=shown.pop("method"), progress=progress)
        return draw_imfish(field, result, **shown)


def main(argv: Sequence[str] | None = None) -> None:
    """Open the image, draw, print the numbers."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.out.suffix.lower() != ".png":
        parser.error(f"--out must be a file name ending in .png. Received: {args.out}")
    if args.what != "imfish" and args.mode:
        parser.error("--mode is for --what imfish")
    if args.what != "cells" and args.diameter_um:
        parser.error("--diameter-um is for --what cells")
    if args.what == "cells" and args.method == "learned":
        parser.error("--method learned is for nuclei; bright-field cells have robust and paper")
    picture = draw(args)
    picture.save(args.out)
    print("\n".join([*picture.summary, f"written: {args.out}"]))


if __name__ == "__main__":
    sys.exit(run_cli(main))
