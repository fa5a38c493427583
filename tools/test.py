"""Test trained weights: AP per class, precision, recall, F1, PR curves, speed.

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
    parser.add_argument("checkpoint", help="weights (.pth)")
    parser.add_argument("--out", help="where the results go (default: <work dir>/test)")
    parser.add_argument("--speed-images", type=int, default=8, metavar="N", help="images to measure speed on; 0: none")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Merge the command line into the config and test."""
    args = parse_args(argv)
    tune_cpu()  # before torch
    from ctc_mm.engine.checkpoint import use_safe_checkpoints
    from ctc_mm.engine.setup import load_config, register_all_modules
    from ctc_mm.engine.testing import evaluate_detector

    use_safe_checkpoints(args.trust_checkpoint)
    register_all_modules()
    config = load_config(args.config, args.cfg_options)
    out_dir = Path(args.out or Path(config.work_dir) / "test")
    metrics = evaluate_detector(config, args.checkpoint, out_dir, args.trust_checkpoint, args.speed_images)
    for name, value in metrics.items():
        print(f"{name:40s} {value:.4f}")
    print(f"results: {out_dir}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
