"""Train the model of a config, a detector's or a classifier's.

example: python tools/train.py configs/ssd_cbam_vgg16_ctc.py --cfg-options data_root=data/ctc/
"""

import argparse
import sys

from ctc_mm.cli import add_config_options, add_training_options, run_cli
from ctc_mm.cpu import tune_cpu


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_options(parser)
    parser.add_argument("--work-dir", help="where logs and weights go (default: work_dirs/<config name>)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the work dir")
    add_training_options(parser)
    parser.add_argument(
        "--track", nargs="+", default=[], metavar="NAME", help="report to tensorboard, mlflow or both as well"
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="several processes: torchrun --nproc-per-node 2 tools/train.py CONFIG --launcher pytorch",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Merge the command line into the config and train."""
    args = parse_args(argv)
    tune_cpu()  # before torch
    from mmengine.dist import is_main_process
    from mmengine.runner import Runner

    from ctc_mm.engine.checkpoint import use_safe_checkpoints
    from ctc_mm.engine.distributed import launched
    from ctc_mm.engine.pretrained import require_pretrained_weights
    from ctc_mm.engine.setup import load_config, register_all_modules
    from ctc_mm.engine.tracking import add_trackers, check_trackers
    from ctc_mm.engine.training_options import apply_training_options, require_ema_as_before
    from ctc_mm.engine.work_dir import require_last_checkpoint

    use_safe_checkpoints(args.trust_checkpoint)
    config = load_config(args.config, args.cfg_options, args.work_dir)
    register_all_modules(config.get("default_scope"))
    config.resume = args.resume or config.get("resume", False)
    config = apply_training_options(
        config, from_scratch=args.from_scratch, amp=args.amp, channels_last=args.channels_last,
        deterministic=args.deterministic, ema=args.ema,
    )  # fmt: skip
    if args.resume:
        require_ema_as_before(config, require_last_checkpoint(config.work_dir), args.trust_checkpoint)
    add_trackers(config, args.track)
    check_trackers(config)
    require_pretrained_weights(config.model, args.trust_checkpoint)
    with launched(config, args.launcher):
        Runner.from_cfg(config).train()
        if is_main_process():
            print(f"weights and log: {config.work_dir}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
