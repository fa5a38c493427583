r"""Draw the loss and the validation figures of trainings by epoch (Figure 6 of the SSD paper).

example: python tools/curves.py work_dirs/ssd_cbam_vgg16_ctc work_dirs/ssd --out curves.png --csv curves.csv
         python tools/curves.py work_dirs/comparison --average --out curves.png
"""

import argparse
import sys
from pathlib import Path

from ctc_mm.cli import file_name, run_cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folders", nargs="+", metavar="WORK_DIR", help="of a training, or a folder with several; NAME=WORK_DIR names "
        "the model")  # fmt: skip
    add("--out", required=True, type=file_name(".png"), metavar="PNG", help="the picture")
    add("--csv", type=file_name(".csv"), metavar="FILE.csv", help="all curves as model,run,name,epoch,value")
    add("--names", nargs="+", metavar="CURVE", help="what to draw, such as loss ctc/mAP50 (default: losses, AP, AUC)")
    add("--average", action="store_true", help="mean over the seeds of a model, with a band of one SD")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Read logs, draw, tell the best epochs."""
    args = parse_args(argv)
    from ctc_mm.engine.curves.collect import chosen_names, find_runs, runs_csv
    from ctc_mm.engine.curves.drawing import draw_curves, summary_lines
    from ctc_mm.formats.files import atomic_write_bytes, atomic_write_text, require_writable

    require_writable(args.out, args.csv)
    runs = find_runs(args.folders)
    names = chosen_names(runs, args.names)
    picture = draw_curves(runs, names, args.average)
    for line in summary_lines(runs, names):
        print(line)
    atomic_write_bytes(Path(args.out), picture)
    print(f"picture: {args.out}")
    if args.csv:
        atomic_write_text(Path(args.csv), runs_csv(runs))
        print(f"table: {args.csv}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
