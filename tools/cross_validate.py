r"""Train and test a config on every fold of its data; mean, SD and pooled figures in one report.

example: python tools/cross_validate.py configs/classification/light_cells.py --folds 5 --group-key group
         python tools/cross_validate.py configs/classification/light_cells.py --protocol transfer \
             --train-where source=cultured --test-where source=patient
"""

import argparse
import sys

from ctc_mm.cli import add_config_options, add_process_options, run_cli
from ctc_mm.cpu import tune_cpu


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_options(parser)
    add = parser.add_argument
    protocols = ["kfold", "leave-one-group-out", "holdout", "transfer"]
    add("--protocol", choices=protocols, default="kfold", help="default: %(default)s, grouped and stratified")
    add("--folds", type=int, default=5, help="of kfold (default: %(default)s)")
    add("--group-key", default="group", metavar="COLUMN", help="what is never torn apart (default: %(default)s)")
    add("--ungrouped", action="store_true", help="paper mode: cell by cell, whatever it was cut from; warns")
    add("--holdout", metavar="FRACTION|test", help="test part kept aside before folding; test: the config's own")
    add("--val-fraction", type=float, default=0.2, help="of each training part, to choose by (default: %(default)s)")
    add("--repeats", type=int, default=1, help="do it all so often, divided anew (default: %(default)s)")
    add("--seed", type=int, help="of the division (default: the config's randomness.seed)")
    add("--test-data", metavar="FOLDER", help="transfer: the other set, laid out as the config's data_root")
    add("--train-where", nargs="+", metavar="COLUMN=VALUE", help="train on these rows (VALUE,VALUE: either)")
    add("--test-where", nargs="+", metavar="COLUMN=VALUE", help="transfer: test on these rows of the same table")
    add("--allow-leaks", action="store_true", help="go on where the leak check finds cells on both sides; warns")
    add("--out", metavar="DIR", help="where folds and report go (default: work_dirs/<config>_<protocol>)")
    add("--again", action="store_true", help="delete a former run in DIR and start anew")
    add_process_options(parser)
    add("--from-scratch", action="store_true", help="random weights: no pretrained backbone, no freeze")
    add("--amp", action="store_true", help="mixed precision")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Merge the command line into config and options, and run."""
    args = parse_args(argv)
    tune_cpu()  # before torch
    from ctc_mm.engine.amp import use_amp
    from ctc_mm.engine.checkpoint import use_safe_checkpoints
    from ctc_mm.engine.cross_validation import cross_validate
    from ctc_mm.engine.cross_validation.options import default_out, read_options
    from ctc_mm.engine.pretrained import require_pretrained_weights, train_from_scratch
    from ctc_mm.engine.runs.single_run import RunCommands
    from ctc_mm.engine.setup import load_config, register_all_modules

    use_safe_checkpoints(args.trust_checkpoint)
    options = read_options(args)
    config = load_config(args.config, args.cfg_options)
    register_all_modules(config.get("default_scope"))
    if args.amp:
        use_amp(config)
    if args.from_scratch:
        config = train_from_scratch(config)
    require_pretrained_weights(config.get("model") or {}, args.trust_checkpoint)
    commands = RunCommands(args.trust_checkpoint, args.other_images)
    out_dir = args.out or default_out(args.config, options)
    result = cross_validate(
        config, out_dir, options, name=args.config, jobs=args.jobs, threads=args.threads, again=args.again,
        commands=commands,
    )  # fmt: skip
    for line in result.lines():
        print(line)
    print(f"report: {result.out_dir / 'report.html'}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
