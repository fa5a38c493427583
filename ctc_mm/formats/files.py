"""Files written whole or not at all, and JSON whose bytes depend on its content alone."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, where a file is to be written", str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:  # it names the temporary file or a folder above, which the user never gave
        raise type(error)(error.errno, f"cannot be written ({error.strerror})", str(path)) from error
    os.close(handle)
    temporary = Path(name)
    # mkstemp makes the file private; what the project writes is readable as any other file of the user's.
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:  # a full disk names no file, and the temporary one says nothing to the user
        if error.errno is None or error.filename not in (None, name):
            raise
        raise type(error)(error.errno, f"cannot be written ({error.strerror})", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


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
