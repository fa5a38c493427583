"""What a comparison is asked to do."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctc_mm.errors import ConfigError

BATCH_SIZES = (1, 2, 4, 8, 16)
MOST_SEED = 2**32 - 1
DEVICES = ("auto", "cpu", "cuda")
TRAINING_OPTIONS = ("from_scratch", "amp", "channels_last", "deterministic", "ema")


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """How models are trained, tested and measured; the same for all.

    Attributes:
        seeds: of the trainings of each config.
        baseline: name of the config that the others are compared with; None: the first.
        jobs: trainings and tests at the same time.
        threads: of each process; None: the cores divided by ``jobs``.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.
        batch_sizes: images a batch on which speed is measured; the first is 1.
        rounds: over all models, of each batch size; 0 measures neither speed nor memory.
        resamples: draws of the test images; 0 gives no intervals.
        resample_seed: of these draws.
        again: delete former runs of these configs in the folder.
        trust: load weights by pickle.
        other_images: test although pixel size or channel are not those of training.

    Raises:
        ConfigError: a number out of range.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    baseline: str | None = None
    jobs: int = 1
    threads: int | None = None
    device: str = "auto"
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    rounds: int = 5
    resamples: int = 1000
    resample_seed: int = 0
    again: bool = False
    trust: bool = False
    other_images: bool = False

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"the seeds must be one or more different numbers from 0 on. Received: {self.seeds}")
        if max(self.seeds) > MOST_SEED:
            raise ConfigError(f"a seed is at most {MOST_SEED}, as NumPy takes it. Received: {max(self.seeds)}")
        if self.jobs < 1 or (self.threads is not None and self.threads < 1):
            raise ConfigError(f"--jobs and --threads must be 1 or more. Received: {self.jobs}, {self.threads}")
        if self.device not in DEVICES:
            raise ConfigError(f"--device takes one of {', '.join(DEVICES)}. Received: {self.device!r}")
        if not self.batch_sizes or self.batch_sizes[0] != 1 or list(self.batch_sizes) != sorted(set(self.batch_sizes)):
            raise ConfigError(f"--batch-sizes rise from 1, such as 1 2 4 8 16. Received: {self.batch_sizes}")
        if self.rounds < 0 or self.resamples < 0:
            raise ConfigError(f"--rounds and --resamples must be 0 or more. Received: {self.rounds}, {self.resamples}")


def read_options(args: Namespace) -> ComparisonOptions:
    """Options of ``tools/compare.py``.

    Raises:
        ConfigError: see ``ComparisonOptions``.
    """
    if args.seed_list is None and args.seeds < 1:
        raise ConfigError(f"--seeds must be 1 or more: so many trainings of each config. Received: {args.seeds}")
    taken = ("baseline", "jobs", "threads", "device", "rounds", "resamples", "again", "other_images")
    return ComparisonOptions(
        **{name: getattr(args, name) for name in taken},
        seeds=tuple(range(args.seeds)) if args.seed_list is None else tuple(args.seed_list),
        batch_sizes=tuple(args.batch_sizes),
        trust=args.trust_checkpoint,
    )


def read_trained(pairs: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """``NAME=WORK_DIR`` or ``NAME=CHECKPOINT``; a name given several times has so many trainings.

    Raises:
        ConfigError: no such pair, or a path that is not there.
    """
    found: dict[str, tuple[Path, ...]] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not name or not equals or not path:
            raise ConfigError(f"--trained takes NAME=WORK_DIR or NAME=CHECKPOINT. Received: {pair!r}")
        if not Path(path).exists():
            raise ConfigError(f"--trained {pair}: {path} is not there; give a folder of a training, or its weights")
        if Path(path) in found.get(name, ()):
            raise ConfigError(f"--trained {pair}: given twice; each is one training")
        found[name] = (*found.get(name, ()), Path(path))
    return found
