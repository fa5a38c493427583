"""Run the whole job on a synthetic set: draw, convert; train, test and explain a detector, then a cell classifier.

example: python tools/demo.py --out demo_out
"""

import argparse
import sys

from ctc_mm.cli import run_cli


def main(argv: list[str] | None = None) -> None:
    """Read the command line and run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for data, weights, figures and pictures")
    parser.add_argument("--again", action="store_true", help="draw and train anew even if nothing changed")
    args = parser.parse_args(argv)

    from ctc_mm.demo import run_demo

    run_demo(args.out, again=args.again)


if __name__ == "__main__":
    sys.exit(run_cli(main))
