r"""Train, test and measure detectors on the same data with several seeds, and write one table.

example: python tools/compare.py configs/compare/*.py --seeds 3 --out work_dirs/compare
         python tools/compare.py configs/lite/ablation/*.py --epochs 20 --out work_dirs/ablation_lite \
             --baseline ssdlite_bccd --trained ssdlite_bccd=work_dirs/ssdlite_bccd
"""

import argparse
import sys

from ctc_mm.cli import add_config_options, add_process_options, add_training_options, run_cli
from ctc_mm.cpu import tune_cpu


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_options(parser, several=True)
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="for runs and table; what it holds of the same is gone on with")
    add(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="trainings of each config, seeds 0..N-1 (default: %(default)s)",
    )
    add("--seed-list", type=int, nargs="+", metavar="SEED", help="these seeds instead")
    add("--epochs", type=int, metavar="N", help="of every training, the schedule stretched to it")
    add("--data-root", metavar="DIR/", help="of every data set")
    add(
        "--trained", action="append", default=[], metavar="NAME=PATH",
        help="do not train the config NAME.py: take these weights, or the best in this work dir; again for each seed",
    )  # fmt: skip
    add("--baseline", metavar="NAME", help="config that the others are compared with (default: the first)")
    add_training_options(parser)
    parser.set_defaults(channels_last=True)
    add_process_options(parser)
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU where there is one")
    add("--batch-sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16], metavar="N", help="that speed is measured with")
    add("--rounds", type=int, default=5, metavar="N", help="of speed; 0: no speed, memory, size (default: %(default)s)")
    add("--resamples", type=int, default=1000, metavar="N", help="of test images, for intervals (default: %(default)s)")
    add("--again", action="store_true", help="delete former runs of these configs in DIR and start anew")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Merge the command line into configs and options, and compare."""
    args = parse_args(argv)
    tune_cpu()  # before torch
    from ctc_mm.engine.checkpoint import use_safe_checkpoints
    from ctc_mm.engine.comparison import compare, read_contestants
    from ctc_mm.engine.comparison.options import TRAINING_OPTIONS, read_options, read_trained

    use_safe_checkpoints(args.trust_checkpoint)
    options = read_options(args)
    given = {"data_root": args.data_root, "train_cfg.max_epochs": args.epochs}
    changes = {**args.cfg_options, **{key: value for key, value in given.items() if value is not None}}
    training = {name: getattr(args, name) for name in TRAINING_OPTIONS}
    contestants = read_contestants(args.configs, changes, training, read_trained(args.trained), args.trust_checkpoint)
    result = compare(contestants, args.out, options)
    for line in result.lines():
        print(line)
    print(f"table: {result.out_dir / 'comparison.md'}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
