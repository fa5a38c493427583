"""Write a trained model as one file for ONNX Runtime or OpenVINO, with all that counting needs to know of it.

The file is checked against PyTorch before it is kept: scores to 1e-3, boxes at an IoU of 0.99. With --int8 the layers
are quantised, with ranges from images of the config's training set; --check-ap says what that costs.

example: python tools/export.py configs/ssd_cbam_vgg16_ctc.py work_dirs/ssd/best.pth --format onnx --out ctc.onnx
         python tools/export.py CONFIG best.pth --format openvino --out ctc_int8.xml --int8 --check-ap test
         python tools/count.py slide.tif --route detect --model ctc.onnx --out counted
"""

import argparse
import sys

from ctc_mm.cli import add_config_options, run_cli
from ctc_mm.cpu import tune_cpu


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_options(parser)
    parser.add_argument("checkpoint", help="weights (.pth)")
    parser.add_argument("--format", required=True, choices=("onnx", "openvino"), help="for which engine")
    parser.add_argument("--out", required=True, help="FILE.onnx, or FILE.xml (OpenVINO's weights go to FILE.bin)")
    parser.add_argument(
        "--window-px",
        type=int,
        nargs="+",
        metavar="PX",
        help="side, or width and height, of the images in training, where the weights do not remember it",
    )
    parser.add_argument(
        "--nms",
        choices=("outside", "inside"),
        default="outside",
        help="inside: boxes are selected by the file itself, for programs that know nothing of this project "
        "(default: %(default)s)",
    )
    parser.add_argument("--int8", action="store_true", help="quantise layers to 8 bits; faster, and boxes change")
    parser.add_argument(
        "--calibration",
        type=int,
        metavar="N",
        help="training images that --int8 takes the ranges of its layers from (default: 100)",
    )
    parser.add_argument(
        "--check-images",
        choices=("drawn", "train", "val", "test"),
        help="images that file and weights are compared on: drawn discs, or four of this set of the config (default: "
        "drawn; with --int8: train)",
    )
    parser.add_argument(
        "--check-ap", choices=("val", "test"), help="run file and weights on this set of the config and compare figures"
    )
    args = parser.parse_args(argv)
    if args.calibration is not None and not args.int8:
        parser.error("--calibration goes with --int8: a file in float32 takes no ranges from images")
    return args


def main(argv: list[str] | None = None) -> None:
    """Export, check, and say what was written."""
    args = parse_args(argv)
    tune_cpu()  # before torch
    from ctc_mm.counting.engines import EngineSettings
    from ctc_mm.engine.export import ExportOptions, export_model

    calibration = {} if args.calibration is None else {"calibration_images": args.calibration}
    options = ExportOptions(args.nms, args.int8, check_ap=args.check_ap, check_images=args.check_images, **calibration)
    settings = EngineSettings(
        config=args.config,
        checkpoint=args.checkpoint,
        window_px=args.window_px,
        trust_checkpoint=args.trust_checkpoint,
        cfg_options=args.cfg_options or {},
    )
    print(export_model(settings, args.format, args.out, options).summary())


if __name__ == "__main__":
    sys.exit(run_cli(main))
