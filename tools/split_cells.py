"""Divide single cells into train, val and test by whole groups: fills in the column `split` of cells.csv.

Only that column changes. The split is kept in split.json beside the table. The same picture in two parts is an error.

example: python tools/split_cells.py data/cells --test 0.2 --val 0.2 --group-key group
"""

import argparse
import sys

from ctc_mm.cli import progress, run_cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DIR", help="folder of cells.csv")
    parser.add_argument("--test", type=float, default=0.2, help="part that is tested (default: %(default)s)")
    parser.add_argument(
        "--val", type=float, default=0.2, help="part of the rest for thresholds and best weights (default: %(default)s)"
    )
    parser.add_argument(
        "--group-key", default="group", metavar="COLUMN", help="what is never torn apart (default: %(default)s)"
    )
    parser.add_argument("--ungrouped", action="store_true", help="cell by cell, as in the papers; warns")
    parser.add_argument("--seed", type=int, default=0, help="of the division (default: %(default)s)")
    parser.add_argument("--allow-leaks", action="store_true", help="warn where one picture is in two parts")
    parser.add_argument("--overwrite", action="store_true", help="replace the split that the table has")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Divide, write and say how even it came out."""
    args = parse_args(argv)
    from ctc_mm.datasets.split_table import split_table

    result = split_table(
        args.data,
        test_fraction=args.test,
        val_fraction=args.val,
        group_key=None if args.ungrouped else args.group_key,
        seed=args.seed,
        allow_leaks=args.allow_leaks,
        overwrite=args.overwrite,
        progress=progress,
    )
    for row in result.counts:
        labels = ", ".join(f"{name} {count}" for name, count in row.items() if name not in ("fold", "part", "groups"))
        print(f"{row['part']}: {labels} ({row['groups']} groups)")
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(result.left_out.items()))
    print(f"images without a part: {left_out or 0}")
    print(f"leak check: {result.leaks}")
    print(f"written: {args.data}/cells.csv, {args.data}/split.json")


if __name__ == "__main__":
    sys.exit(run_cli(main))
