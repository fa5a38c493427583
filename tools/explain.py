"""Draw what a detector looks at: Grad-CAM of the boxes it keeps, level by level and fused.

example: python tools/explain.py configs/ssd_cbam_vgg16_ctc.py work_dirs/ssd/best.pth data/ctc/images --out explained
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


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_options(parser)
    parser.add_argument("checkpoint", help="weights (.pth)")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of images")
    parser.add_argument("--out", required=True, help="folder for pictures, raw maps and explain.json")
    parser.add_argument("--score-thr", type=float, help="keep boxes from this score on (default: the weights', or 0.5)")
    parser.add_argument("--target", type=read_target, default="all", help="all kept boxes (default), top1, or an index")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="explain boxes of this class only")
    parser.add_argument("--levels", type=int, nargs="+", help="levels of the pyramid to explain; 0 is the finest")
    parser.add_argument("--layers", nargs="+", help="modules to explain (default: the last before the class scores)")
    parser.add_argument("--against-background", action="store_true", help="explain class minus background logit")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Load the model, explain every image, say what was written."""
    args = parse_args(argv)
    tune_cpu()  # before torch
    from ctc_mm.engine.checkpoint import load_checkpoint_safely, use_safe_checkpoints
    from ctc_mm.engine.setup import load_config, register_all_modules
    from ctc_mm.explain.run import build_detector, explain_files

    use_safe_checkpoints(args.trust_checkpoint)
    register_all_modules()
    config = load_config(args.config, args.cfg_options)
    checkpoint = load_checkpoint_safely(args.checkpoint, args.trust_checkpoint)
    detector = build_detector(config, checkpoint, args.checkpoint, args.device)
    names = ("score_thr", "class_name", "target", "levels", "layers", "against_background")
    options = {name: getattr(args, name) for name in names}
    track = partial(progress, description="Grad-CAM")
    written = explain_files(detector, args.images, args.out, track=track, **options)
    empty = sum(not files.explained for files in written)
    print(f"{len(written)} images explained, {empty} of them without a box to explain (empty maps): {args.out}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
