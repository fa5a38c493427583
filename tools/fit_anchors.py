r"""Fit the anchors of a detector to its training set, by k-means on IoU, and report how well they meet the boxes.

example: python tools/fit_anchors.py configs/lite/ssdlite_cbam_mobilenetv2_bccd.py --out anchors.png --leaf fitted.py
         python tools/fit_anchors.py data/bccd/train.json --size 320 320 --shapes 9
"""

import argparse
import sys
from pathlib import Path

from ctc_mm.cli import add_config_options, file_name, run_cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_options(parser)
    add = parser.add_argument
    add("--out", type=file_name(".png"), metavar="PNG", help="picture of boxes, anchors and their recall")
    add("--leaf", type=file_name(".py"), metavar="FILE.py", help="write a config with the fitted anchors")
    add("--view", choices=["resized", "augmented"], default="resized", help="boxes as a test resizes them, or as "
        "training crops and scales them (default: %(default)s)")  # fmt: skip
    add("--epochs", type=int, default=1, help="of the augmented view (default: %(default)s)")
    add("--iou", type=float, default=0.5, help="from which an anchor meets a box (default: %(default)s)")
    add("--weight", choices=["class", "box"], default="class", help="what counts the same: every class, or every box "
        "(default: %(default)s)")  # fmt: skip
    add("--seed", type=int, default=0, help="of k-means and augmentation (default: %(default)s)")
    add("--shapes", type=int, default=9, help="of a FILE.json: how many (default: %(default)s)")
    add("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="of a FILE.json: the network's input in px")
    args = parser.parse_args(argv)
    for name, wrong in (("epochs", args.epochs < 1), ("iou", not 0 < args.iou < 1), ("shapes", args.shapes < 1),
                        ("size", min(args.size or [1]) < 1), ("seed", args.seed < 0)):  # fmt: skip
        if wrong:
            parser.error(f"--{name} is out of range. Received: {getattr(args, name)}")
    if args.config.endswith(".json") and args.leaf:
        parser.error("--leaf goes with a config, whose anchors it changes; a FILE.json has none")
    if args.leaf and Path(args.leaf).resolve() == Path(args.config).resolve():
        parser.error(f"--leaf {args.leaf} is the config itself, which the leaf inherits from; give a new file")
    return args


def main(argv: list[str] | None = None) -> None:
    """Read boxes, fit, print, draw."""
    args = parse_args(argv)
    from ctc_mm.engine.anchor_fit import fit_config, fit_file
    from ctc_mm.engine.anchor_fit.report import draw_fit, report_lines, write_leaf
    from ctc_mm.engine.setup import load_config, register_all_modules
    from ctc_mm.formats.files import atomic_write_bytes, require_writable

    require_writable(args.out, args.leaf)
    by_class = args.weight == "class"
    if args.config.endswith(".json"):
        fit = fit_file(args.config, args.shapes, args.size and tuple(args.size), args.seed, by_class)
    else:
        config = load_config(args.config, args.cfg_options)
        register_all_modules(config.get("default_scope"))
        fit = fit_config(config, args.view, args.epochs, args.seed, by_class, args.iou)
    for line in report_lines(fit):
        print(line)
    picture = draw_fit(fit) if args.out else b""
    if args.leaf:
        write_leaf(args.leaf, args.config, fit)
        print(f"config: {args.leaf}")
    if args.out:
        atomic_write_bytes(Path(args.out), picture)
        print(f"picture: {args.out}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
