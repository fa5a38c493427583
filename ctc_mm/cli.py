"""What every command line of the project shares: exit codes, error lines, progress bars, ``--cfg-options``."""

from __future__ import annotations

import argparse
import ast
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PATH_CURE = "check the path, and that it may be read or written"
TRACEBACK_VARIABLE = "CTC_MM_TRACEBACK"

T = TypeVar("T")


def run_cli(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Run a command's ``main`` and turn what it raises into an exit code.

    Args:
        main: takes the arguments (None: ``sys.argv``); argparse ends it with code 2 on bad usage.
        argv: arguments without the program's name.

    Returns:
        0 done, 1 failed (one ``error:`` line on stderr; the traceback too with ``CTC_MM_TRACEBACK=1``).
    """
    try:
        main(argv)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return EXIT_FAILED
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # Ctrl-C amid an import
            print("interrupted", file=sys.stderr)  # noqa: T201
            return EXIT_FAILED
        if os.environ.get(TRACEBACK_VARIABLE) == "1":
            traceback.print_exc()
        print(f"error: {message_of(error)}", file=sys.stderr)  # noqa: T201
        return EXIT_FAILED
    return EXIT_OK


def message_of(error: Exception) -> str:
    """What went wrong, in the words of whoever raised it; a system's error about a file, with the file in front."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        cure = "free some space, or write elsewhere" if error.errno in NO_SPACE else PATH_CURE
        return f"{error.filename}: {error.strerror}; {cure}"
    return str(error) or type(error).__name__


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar on stderr (rich draws it on a terminal, and a final line elsewhere)."""
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=description, total=total, console=Console(stderr=True))


def file_name(*suffixes: str) -> Callable[[str], str]:
    """An argument's ``type``: the name of a file to write, refused with another ending than its content has."""

    def read(text: str) -> str:
        if not text.lower().endswith(suffixes):
            raise argparse.ArgumentTypeError(f"takes a name that ends with {' or '.join(suffixes)}. Received: {text!r}")
        return text

    return read


class CfgOptions(argparse.Action):
    """``--cfg-options a.b=1 c="['x', 'y']"``: dotted keys to Python values; what is no literal stays text."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Collect the pairs in a dict."""
        options = dict(getattr(namespace, self.dest) or {})
        for pair in values:
            key, equals, text = pair.partition("=")
            if not equals or not key:
                parser.error(f"{option} takes KEY=VALUE pairs; received {pair!r}")
            try:
                options[key] = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                options[key] = {"true": True, "false": False}.get(text, text)
        setattr(namespace, self.dest, options)


def add_config_options(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add what every command on a config (``several``: on configs) takes: it, and how it is read."""
    if several:
        parser.add_argument("configs", nargs="+", metavar="CONFIG", help="config files, in the order of the rows")
    else:
        parser.add_argument("config", help="config file, such as configs/ssd_cbam_vgg16_ctc.py")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        default={},
        metavar="KEY=VALUE",
        help="change values of the config, such as data_root=data/mine/ train_cfg.max_epochs=20",
    )
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="load weights by pickle, which can run code hidden in the file; only for files whose maker you trust",
    )


def add_process_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes that trains and tests in processes of its own."""
    add = parser.add_argument
    add("--jobs", type=int, default=1, metavar="N", help="trainings at the same time (default: %(default)s)")
    add("--threads", type=int, metavar="N", help="of each process (default: the cores divided by --jobs)")
    add("--other-images", action="store_true", help="test although channel or pixel size are not those of training")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command that trains takes: see :mod:`ctc_mm.engine.training_options`."""
    add = parser.add_argument
    add("--from-scratch", action="store_true", help="random weights: no pretrained backbone, no freeze")
    add("--amp", action="store_true", help="mixed precision: float16 on a GPU, bfloat16 on a CPU")
    add(
        "--channels-last",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="keep weights and activations channel after channel of a pixel: same results to rounding, mostly faster",
    )
    add(
        "--deterministic",
        action="store_true",
        help="the same weights each time, on a GPU too; an operation that cannot is an error. Not covered: another "
        "machine, version, or number of processes, threads or loader workers",
    )
    add("--ema", action="store_true", help="validate, choose and save a running average of the weights (1 epoch)")
