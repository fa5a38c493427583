"""What a cross-validation is asked to do."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ctc_mm.errors import ConfigError

KFOLD, LEAVE_ONE_GROUP_OUT, HOLDOUT, TRANSFER = PROTOCOLS = ("kfold", "leave-one-group-out", "holdout", "transfer")
# `--holdout test`: the part of the data that the config itself tests on.
GIVEN_TEST = "test"
USUAL_TEST_FRACTION = 0.2
Conditions = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class CrossValidationOptions:
    """How the cells or images of a config are divided, and how often.

    Attributes:
        protocol: ``kfold`` (grouped and stratified), ``leave-one-group-out`` (each group is tested once), ``holdout``
            (one split), ``transfer`` (train on one set, test on another: cultured cells to patients).
        folds: of ``kfold``; 2 or more.
        group_key: column of the table, or key of the COCO images, whose values are never torn apart.
        ungrouped: `paper` mode: cells or images are divided one by one, whatever they were cut from.
        holdout: test part kept aside before folding: a fraction, or ``'test'`` for the config's own test set. A last
            model is trained on all the rest and tested on it. With the protocol ``holdout`` it is the test part.
        val_fraction: part of each training part kept aside to choose thresholds, temperature and best weights.
        repeats: how often the whole is done, each time divided and seeded anew.
        seed: of the division, and of the first training; None: the config's ``randomness.seed``, else 0.
        test_data: of ``transfer``: folder of the other set, laid out as the config's data root.
        train_where, test_where: conditions on columns of the table (``{'source': ('cultured',)}``): what may be trained
            on and what is tested in ``transfer``; ``train_where`` alone limits the other protocols.
        allow_leaks: go on, with a warning, where the leak check finds the same cell on both sides.

    Raises:
        ConfigError: options out of range, or that do not go together.
    """

    protocol: str = KFOLD
    folds: int = 5
    group_key: str = "group"
    ungrouped: bool = False
    holdout: float | str | None = None
    val_fraction: float = 0.2
    repeats: int = 1
    seed: int | None = None
    test_data: str | None = None
    train_where: Conditions = field(default_factory=dict)
    test_where: Conditions = field(default_factory=dict)
    allow_leaks: bool = False

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ConfigError(f"--protocol takes one of {', '.join(PROTOCOLS)}. Received: {self.protocol!r}")
        if self.folds < 2:
            raise ConfigError(
                f"--folds must be 2 or more: each fold is tested by what was trained on the others. Received: "
                f"{self.folds}; one split is --protocol holdout"
            )
        if self.repeats < 1:
            raise ConfigError(f"--repeats must be 1 or more. Received: {self.repeats}")
        for name, value in (("--val-fraction", self.val_fraction), ("--holdout", self.holdout)):
            if isinstance(value, int | float) and not 0 < value < 1:
                raise ConfigError(f"{name} is a fraction between 0 and 1, such as 0.2. Received: {value}")
        if isinstance(self.holdout, str) and self.holdout != GIVEN_TEST:
            raise ConfigError(f"--holdout takes a fraction or the word `test`. Received: {self.holdout!r}")
        self._check_protocol()

    def _check_protocol(self) -> None:
        transfer = self.protocol == TRANSFER
        if transfer and bool(self.test_data) == bool(self.test_where):
            raise ConfigError(
                "--protocol transfer needs one of --test-data FOLDER (another set) and --test-where COLUMN=VALUE (in "
                f"the same table). Received: {'both' if self.test_data else 'neither'}"
            )
        if transfer and self.test_where and not self.train_where:
            raise ConfigError("--test-where needs --train-where COLUMN=VALUE beside it: what is trained on")
        if transfer and self.holdout is not None:
            raise ConfigError("--holdout does not go with --protocol transfer: the other set is what is tested")
        if not transfer and (self.test_data or self.test_where):
            raise ConfigError("--test-data and --test-where belong to --protocol transfer; add it")
        if self.protocol == LEAVE_ONE_GROUP_OUT and self.ungrouped:
            raise ConfigError("--ungrouped does not go with --protocol leave-one-group-out; leave one of them out")

    @property
    def identity(self) -> dict[str, Any]:
        """What decides how the data are divided, as JSON."""
        return {name: value for name, value in asdict(self).items() if name not in ("allow_leaks", "test_data")}


def read_conditions(option: str, pairs: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """``source=cultured``, ``group=P1,P2``: column -> values that it may have.

    Raises:
        ConfigError: no ``COLUMN=VALUE``, or a column twice.
    """
    conditions: dict[str, tuple[str, ...]] = {}
    for pair in pairs or ():
        column, equals, values = pair.partition("=")
        if not column or not equals or not values:
            raise ConfigError(f"{option} takes COLUMN=VALUE or COLUMN=VALUE,VALUE. Received: {pair!r}")
        if column in conditions:
            raise ConfigError(f"{option}: the column {column!r} is named twice; give {column}=VALUE,VALUE")
        conditions[column] = tuple(values.split(","))
    return conditions


def read_options(args: Namespace) -> CrossValidationOptions:
    """Options of ``tools/cross_validate.py``.

    Raises:
        ConfigError: see ``CrossValidationOptions``.
    """
    changed = ("holdout", "train_where", "test_where")
    taken = [one.name for one in fields(CrossValidationOptions) if one.name not in changed]
    return CrossValidationOptions(
        **{name: getattr(args, name) for name in taken},
        holdout=read_holdout(args.holdout),
        train_where=read_conditions("--train-where", args.train_where),
        test_where=read_conditions("--test-where", args.test_where),
    )


def read_holdout(text: str | None) -> float | str | None:
    """``0.2`` or ``test``, as the command line gives it."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def default_out(config_path: str | Path, options: CrossValidationOptions) -> Path:
    """``work_dirs/<config name>_<protocol>``."""
    return Path("work_dirs") / f"{Path(config_path).stem}_{options.protocol.replace('-', '_')}"
