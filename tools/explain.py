"""Draw what a model looks at: Grad-CAM of the boxes that a detector keeps, or of the class that a classifier names.

example: python tools/explain.py configs/ssd_cbam_vgg16_ctc.py work_dirs/ssd/best.pth data/ctc/images --out explained
         python tools/explain.py configs/classification/light_cells.py best.pth data/cells/cells.csv --out explained
"""

import argparse
import sys
from functools import partial

from ctc_mm.cli import add_config_options, progress, run_cli
from ctc_mm.cpu import tune_cpu


def read_target(text: str) -> str | int:
    """Read ``all``, ``top1`` or the index of a kept box."""
    if text in ("all", "top1"):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be all, top1 or the index of a box (0: best score), not {text!r}")
    return int(text)


def read_threshold(text: str) -> float | str:
    """Read a score, or the name of the rule by which validation has chosen one."""
    try:
        return float(text)
    except ValueError:
        return text


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_options(parser)
    parser.add_argument("checkpoint", help="weights (.pth)")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders, or (classifiers) cells.csv")
    parser.add_argument("--out", required=True, help="folder for pictures, raw maps and explain.json")
    threshold_help = "score of boxes to keep, or to call a cell the target from: a number, or (classifiers) a rule"
    parser.add_argument("--score-thr", type=read_threshold, help=f"{threshold_help}; default: the weights' own")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="explain this class only")
    parser.add_argument("--layers", nargs="+", help="modules to explain (default: the last before the class scores)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    boxes = parser.add_argument_group("detectors")
    boxes.add_argument("--target", type=read_target, help="all kept boxes (default), top1, or an index")
    boxes.add_argument("--levels", type=int, nargs="+", help="levels of the pyramid to explain; 0 is the finest")
    boxes.add_argument("--against-background", action="store_true", help="explain class minus background logit")
    cells = parser.add_argument_group("classifiers")
    cells.add_argument("--against-others", action="store_true", help="explain class minus other logit (log-odds)")
    cells.add_argument("--split", help="of a cells.csv, explain this split only")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Load the model, explain every image, say what was written."""
    args = parse_args(argv)
    tune_cpu()  # before torch
    from ctc_mm.engine.checkpoint import load_checkpoint_safely, use_safe_checkpoints
    from ctc_mm.engine.setup import load_config, register_all_modules
    from ctc_mm.explain.run import explain
    from ctc_mm.explain.trained import build_trained_model

    use_safe_checkpoints(args.trust_checkpoint)
    config = load_config(args.config, args.cfg_options)
    register_all_modules(config.get("default_scope", "mmdet"))
    checkpoint = load_checkpoint_safely(args.checkpoint, args.trust_checkpoint)
    trained = build_trained_model(config, checkpoint, args.checkpoint, args.device)
    names = ("score_thr", "class_name", "layers", "target", "levels", "against_background", "against_others", "split")
    options = {name: getattr(args, name) for name in names}
    print(explain(trained, args.images, args.out, track=partial(progress, description="Grad-CAM"), **options))


if __name__ == "__main__":
    sys.exit(run_cli(main))
