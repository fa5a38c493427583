"""Files written whole or not at all, and JSON whose bytes depend on its content alone."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# What makes the name of a temporary file its own.
TOKEN_BYTES = 4


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; it takes the place of ``path`` when the block ends without an error.

    Args:
        path: the file to make; missing folders are created. The temporary name keeps the suffix, since libraries
            choose the format by it.

    Raises:
        OSError: the folder cannot be made or written, the disk is full, or ``path`` is a folder.
    """
    path = Path(path)
    temporary = _new_sibling(path)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:  # a full disk names no file, and the temporary one says nothing to the user
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise type(error)(error.errno, f"cannot be written ({error.strerror})", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(*paths: str | Path | None) -> None:
    """Find out before long work whether its results can be written: to these files, which stay as they are.

    Args:
        paths: files to be written later; missing folders are created. None is skipped.

    Raises:
        OSError: as :func:`atomic_path`.
    """
    for path in paths:
        if path is not None:
            _new_sibling(Path(path)).unlink()


def _new_sibling(path: Path) -> Path:
    """Make an empty file beside ``path`` under a name that nobody has."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, where a file is to be written", str(path))
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(TOKEN_BYTES)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:  # it names the temporary file or a folder above, which the user never gave
        raise type(error)(error.errno, f"cannot be written ({error.strerror})", str(path)) from error
    except KeyboardInterrupt:  # Ctrl-C arrives when the system has made it
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def remove_unfinished(folder: str | Path, names: Iterable[str]) -> None:
    """Remove what ``atomic_path`` had begun for files of a folder when its process was killed.

    Args:
        folder: may be missing; nobody else may be writing these files now.
        names: of the files; ``*`` stands for anything.
    """
    for name in map(Path, names):
        for left in Path(folder).glob(f".{name.stem}.{'[0-9a-f]' * 2 * TOKEN_BYTES}{name.suffix}"):
            left.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 with Unix line ends to ``path`` whole or not at all."""
    atomic_write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, keys in the order given.

    Raises:
        ValueError: ``content`` holds NaN or infinity, which JSON has no word for.
    """
    atomic_write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
