"""Test trained weights: a detector's AP, precision and recall, or a classifier's sensitivity, specificity and AUC.

example: python tools/test.py configs/ssd_cbam_vgg16_ctc.py work_dirs/ssd_cbam_vgg16_ctc/best_ctc_mAP50_epoch_90.pth
"""

import argparse
import sys
from pathlib import Path

from ctc_mm.cli import add_config_options, run_cli
from ctc_mm.cpu import tune_cpu


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_options(parser)
    parser.add_argument("checkpoint", help="weights (.pth), or a file of tools/export.py (.onnx, .xml)")
    parser.add_argument("--out", help="where the results go (default: <work dir>/test)")
    parser.add_argument("--speed-images", type=int, default=8, metavar="N", help="images to measure speed on; 0: none")
    parser.add_argument(
        "--other-images", action="store_true", help="test although channel or pixel size are not those of training"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Merge the command line into the config and test."""
    args = parse_args(argv)
    tune_cpu()  # before torch
    from ctc_mm.engine.checkpoint import use_safe_checkpoints
    from ctc_mm.engine.setup import load_config, register_all_modules
    from ctc_mm.engine.testing import evaluate

    use_safe_checkpoints(args.trust_checkpoint)
    config = load_config(args.config, args.cfg_options)
    register_all_modules(config.get("default_scope"))
    out_dir = Path(args.out or Path(config.work_dir) / "test")
    metrics = evaluate(
        config, args.checkpoint, out_dir, args.trust_checkpoint, args.speed_images, other_images=args.other_images
    )
    for name, value in metrics.items():
        print(f"{name:40s} {value:.4f}")
    print(f"results: {out_dir}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
