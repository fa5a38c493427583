"""Draw what a detector looks at: Grad-CAM of its boxes, level by level and fused.

Example:
    python tools/explain.py configs/ssd_cbam_vgg16_ctc.py work_dirs/ssd/best.pth data/ctc/images --out explained
"""

import argparse
import sys
from functools import partial

from ctc_mm.cli import progress, run_cli


def parse_target(text: str) -> str | int:
    """``all``, ``top1`` or the index of a kept box."""
    if text in ("all", "top1"):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be all, top1 or the index of a box (0: best score), not {text!r}")
    return int(text)


def main(argv: list[str] | None = None) -> None:
    """Parse, load, explain, say what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the config the model was trained with")
    parser.add_argument("checkpoint", help="its weights (.pth)")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of images")
    parser.add_argument("--out", required=True, help="folder for pictures, raw maps and explain.json")
    parser.add_argument(
        "--score-thr", type=float, help="keep boxes from this score on (default: the checkpoint's own, or 0.5)"
    )
    parser.add_argument("--target", type=parse_target, default="all", help="all (default), top1, or a box's index")
    parser.add_argument("--class", dest="class_name", help="explain boxes of this class only")
    parser.add_argument("--levels", type=int, nargs="+", help="levels of the pyramid to explain, 0 is the finest")
    parser.add_argument("--layers", nargs="+", help="modules to explain in place of the neck's outputs")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    parser.add_argument("--trust-checkpoint", action="store_true", help="load by pickle, which runs the file's code")
    args = parser.parse_args(argv)

    from mmengine.config import Config

    from ctc_mm.engine.checkpoint import load_checkpoint_safely, use_safe_checkpoints
    from ctc_mm.explain.run import build_detector, explain_files

    use_safe_checkpoints(trust=args.trust_checkpoint)
    checkpoint = load_checkpoint_safely(args.checkpoint, trust=args.trust_checkpoint)
    detector = build_detector(Config.fromfile(args.config), checkpoint, args.checkpoint, args.device)
    options = {name: getattr(args, name) for name in ("score_thr", "target", "class_name", "levels", "layers")}
    track = partial(progress, description="Grad-CAM")
    written = explain_files(detector, args.images, args.out, track=track, **options)
    empty = sum(files.kept == 0 for files in written)
    print(f"{len(written)} images explained, {empty} of them without a kept box (their maps are empty): {args.out}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
