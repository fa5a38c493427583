"""Turn imFISH fields into single cells that the rule has labelled: folders by class, and cells.csv."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.cell_set import CELLS_FILE
from ctc_mm.formats.imfish_cells import CROPS, ImFISHCellOptions, convert_fields, parse_settings
from ctc_mm.formats.imfish_tables import ImFISHReport
from ctc_mm.formats.options import group_pattern, make_parser, positive_number, usage
from ctc_mm.imaging.channels import parse_channel_map
from ctc_mm.imfish.settings import METHODS, MODES, ImFISHSettings


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = make_parser(
        "Turn imFISH fields into single cells labelled by the rule DAPI+, CD45-, CEP8 >= 3: DIR/all/CLASS/FILE and "
        "DIR/cells.csv, one row a nucleus; DIR/fields/NAME.json with thresholds and verdicts of each field; "
        "DIR/patients.csv with the CTCs per patient. Nuclei that cannot be judged (aggregate, overlap, debris, border, "
        "out_of_focus) are written too, unlabelled and with keep=false. See docs/guides/imfish_training.md.",
        "python data_converters/imfish_to_cells.py slides --out data/imfish_cells --channels dapi=0,cep8=1,cd45=2 "
        "--group-pattern '(P[0-9]+)_'\n  python data_converters/imfish_to_cells.py slides --out data/imfish_cells "
        "--channels 'dapi=*_DAPI.tif,cep8=*_CEP8.tif,cd45=*_CD45.tif'",
    )
    number = usage(positive_number)
    parser.add_argument("in_dir", type=Path, metavar="IN_DIR", help="folder of the fields, folders below included")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to, outside of IN_DIR")
    parser.add_argument(
        "--channels",
        type=usage(parse_channel_map),
        required=True,
        metavar="dapi=..,cep8=..,cd45=..",
        help="place (from 0) or name of each channel in a file, or, for a file a channel, file name patterns with *",
    )
    parser.add_argument(
        "--crop", choices=CROPS, default="cep8", help="what an image shows: CEP8 as in the paper, or all channels"
    )
    parser.add_argument("--mode", choices=MODES, default="full", help="paper: the signals decide and nothing else")
    parser.add_argument("--method", choices=METHODS, default="robust", help="how nuclei are found")
    for name, meaning in (("cd45", "a cell is a white blood cell"), ("cep8", "a spot is a signal")):
        parser.add_argument(
            f"--{name}-threshold", type=number, metavar="GREY", help=f"grey value from which {meaning} (default: found)"
        )
    parser.add_argument(
        "--settings", type=usage(parse_settings), default={}, metavar="NAME=VALUE,...",
        help="further choices of the rule, such as min_signals=3,min_diameter_um=5,max_edge_um=0.8",
    )  # fmt: skip
    parser.add_argument("--um-per-px", type=number, help="micrometres per pixel (default: from the files)")
    parser.add_argument(
        "--group-pattern",
        type=usage(group_pattern),
        metavar="REGEX",
        help="finds the patient in each path below IN_DIR, by its first pair of brackets, such as '(P[0-9]+)_' "
        "(default: each field is a group of its own)",
    )
    parser.add_argument(
        "--volume-ml", type=number, default=4.0, help="blood of each patient, mL (default: %(default)s)"
    )
    parser.add_argument("--coco", type=Path, metavar="FILE.json", help="write the boxes as COCO JSON too")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep verdicts here by content, for later runs")
    parser.add_argument("--skip-damaged", action="store_true", help="leave out fields that cannot be read, counted")
    parser.add_argument("--overwrite", action="store_true", help="replace another set of cells in DIR")
    return parser


def main(argv: Sequence[str] | None = None) -> ImFISHReport:
    """Convert as the arguments say; print and return the report."""
    parser = build_parser()
    args = parser.parse_args(argv)
    given = {name: getattr(args, name) for name in ("cd45_threshold", "cep8_threshold") if getattr(args, name)}
    try:
        settings = ImFISHSettings(**{"mode": args.mode, "method": args.method, **args.settings, **given})
        options = ImFISHCellOptions(
            args.channels, settings, args.crop, args.um_per_px, args.group_pattern, args.volume_ml, args.cache,
            args.skip_damaged, args.overwrite,
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    report = convert_fields(args.in_dir, args.out, options, args.coco, progress)
    print(f"{report}\nwritten: {args.out / CELLS_FILE}")
    return report


if __name__ == "__main__":
    sys.exit(run_cli(main))
