"""Turn a DEPArray export into single cells: folders by class, and cells.csv."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.cell_set import CELLS_FILE
from ctc_mm.formats.deparray import compile_pattern, parse_channels
from ctc_mm.formats.deparray_set import DEPArrayOptions, convert_export
from ctc_mm.formats.deparray_table import parse_columns
from ctc_mm.formats.options import add_label_options, label_rules, make_parser, positive_number, usage
from ctc_mm.formats.report import ConversionReport


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = make_parser(
        "Turn a DEPArray export into single cells: DIR/all/CLASS/FILE and DIR/cells.csv, one row an image. By default "
        "images are named [PATIENT/]SAMPLE/CELL_CHANNEL.SUFFIX, such as S1/12_BF.png and S1/12_DAPI.png; other names "
        "are told with --pattern. A table of the cells gives classes, patients and the operator's choice. See "
        "docs/guides/deparray.md.",
        "python data_converters/deparray_to_cells.py export --out data/deparray --table export/cells.xlsx "
        "--columns cell='Cell ID',label=Verdict --um-per-px 0.32",
    )
    parser.add_argument("in_dir", type=Path, metavar="IN_DIR", help="folder of the export")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to, outside of IN_DIR")
    parser.add_argument("--table", type=Path, metavar="FILE", help="table of the cells: .csv, .tsv or .xlsx")
    parser.add_argument(
        "--pattern",
        type=usage(lambda text: compile_pattern(text).pattern),
        default=DEPArrayOptions.pattern,
        metavar="REGEX",
        help="regular expression for an image's whole path below IN_DIR, with the groups (?P<cell>...) and "
        "(?P<channel>...), and if wanted (?P<sample>...), (?P<patient>...) and (?P<label>...)",
    )
    parser.add_argument(
        "--channels",
        type=usage(parse_channels),
        metavar="OURS=THEIRS,...",
        help="channels to take, such as brightfield=BF,dapi=DAPI; every cell should have them (default: the usual "
        "names, and the channels that occur)",
    )
    parser.add_argument(
        "--columns",
        type=usage(parse_columns),
        default={},
        metavar="FIELD=COLUMN,...",
        help="columns of the table, for cell, sample, patient, label, keep, x0, y0, x1, y1 (default: the usual names)",
    )
    parser.add_argument("--keep", metavar="COLUMN", help="column of the operator's choice of good cells; blank is no")
    parser.add_argument(
        "--extra", nargs="+", default=[], metavar="COLUMN", help="further columns of the table to carry over"
    )
    parser.add_argument("--sheet", metavar="NAME", help="sheet of a workbook (default: the first with a cell column)")
    parser.add_argument("--um-per-px", type=usage(positive_number), help="micrometres per pixel, stored with each cell")
    add_label_options(parser)
    parser.add_argument("--strict", action="store_true", help="fail where images and table do not fit together")
    parser.add_argument("--overwrite", action="store_true", help="replace another set of cells in DIR")
    return parser


def main(argv: Sequence[str] | None = None) -> ConversionReport:
    """Convert as the arguments say; print and return the report."""
    parser = build_parser()
    args = parser.parse_args(argv)
    table_options = [name for name in ("columns", "keep", "extra", "sheet") if getattr(args, name)]
    if args.table is None and table_options:
        parser.error(f"--{table_options[0]} needs --table")
    if args.keep and "keep" in args.columns:
        parser.error("--keep and --columns keep=... name the same column; give one of them")
    columns = {**args.columns, "keep": args.keep} if args.keep else args.columns
    try:
        options = DEPArrayOptions(
            args.pattern, args.channels, columns, tuple(args.extra), args.sheet, label_rules(args), args.um_per_px,
            args.strict, args.overwrite,
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    report = convert_export(args.in_dir, args.out, args.table, options, progress)
    print(f"{report}\nwritten: {args.out / CELLS_FILE}")
    return report


if __name__ == "__main__":
    sys.exit(run_cli(main))
