"""Map what a model's layers hold: cells (classifier) or found boxes (detector) by t-SNE, one panel a layer.

example: python tools/tsne.py configs/classification/light_cells.py work_dirs/light_cells/best.pth --out maps
example: python tools/tsne.py CONFIG CHECKPOINT --part test --map maps/map.npz --out placed
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from ctc_mm.cli import add_config_options, progress, run_cli
from ctc_mm.cpu import tune_cpu


def read_rate(text: str) -> float | str:
    """Read ``auto`` or a number."""
    try:
        return text if text == "auto" else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be auto or a number, not {text!r}") from error


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_options(parser)
    parser.add_argument("checkpoint", help="weights (.pth)")
    parser.add_argument("--out", required=True, help="folder for tsne.png, .html, .csv, metrics.json and map.npz")
    parser.add_argument("--part", choices=("train", "val", "test"), default="test", help="data of the config to map")
    parser.add_argument("--map", help="place the samples into this saved map (map.npz) and leave the map as it is")
    layers = "input, conv5, fc2, last_fc, pre_logits, neck, backbone[3] or any module (default: those of the paper)"
    parser.add_argument("--layers", nargs="+", metavar="NAME", help=layers)
    parser.add_argument(
        "--pooling", choices=("mean", "flatten"), default="mean", help="of feature maps (default: mean)"
    )
    parser.add_argument(
        "--max-samples", type=int, default=5000, metavar="N", help="drawn by class; 0: all (default 5000)"
    )
    parser.add_argument("--method", choices=("opentsne", "sklearn"), default="opentsne")
    parser.add_argument("--perplexity", type=float, default=50.0, help="neighbours that count (default 50)")
    parser.add_argument("--learning-rate", type=read_rate, default="auto", help="auto, or as scikit-learn counts (100)")
    parser.add_argument("--iterations", type=int, default=750, help="of which 250 with exaggeration (default 750)")
    parser.add_argument("--start", choices=("pca", "random"), default="pca", help="first positions (default: pca)")
    parser.add_argument("--seed", type=int, default=0, help="of samples drawn and of the map (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="threads; the map does not depend on them (default 2)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Build model and data, map or place, say what was written."""
    args = parse_args(argv)
    tune_cpu()  # before torch
    from ctc_mm.engine.checkpoint import load_checkpoint_safely, use_safe_checkpoints
    from ctc_mm.engine.setup import load_config, register_all_modules
    from ctc_mm.explain.trained import build_trained_model
    from ctc_mm.explain.tsne import TSNEOptions
    from ctc_mm.explain.tsne_run import FeatureOptions, build_part, map_dataset, place_dataset

    layers = None if args.layers is None else tuple(args.layers)
    features = FeatureOptions(layers, args.pooling, args.max_samples or None, args.seed)
    names = ("method", "perplexity", "learning_rate", "iterations", "start", "seed", "jobs")
    options = TSNEOptions(**{name: getattr(args, name) for name in names})
    use_safe_checkpoints(args.trust_checkpoint)
    config = load_config(args.config, args.cfg_options)
    register_all_modules(config.get("default_scope", "mmdet"))
    checkpoint = load_checkpoint_safely(args.checkpoint, args.trust_checkpoint)
    trained = build_trained_model(config, checkpoint, args.checkpoint, args.device)
    dataset = build_part(config, args.part)
    common = dict(
        title=f"{Path(args.config).stem}, {args.part}",
        operating_point=trained.operating_point,
        track=partial(progress, description="t-SNE"),
    )
    if args.map:
        files = place_dataset(trained.model, dataset, args.map, args.out, features, **common)
    else:
        files = map_dataset(trained.model, dataset, args.out, features, options, **common)
    print("\n".join(files.lines()))


if __name__ == "__main__":
    sys.exit(run_cli(main))
