"""Paths written by others: read as relative to a folder, and never outside a root."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from ctc_mm.errors import AnnotationError

# Bytes in one file name, on every common file system.
LONGEST_NAME = 255
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def resolve_inside(root: Path, folder: Path, written: str) -> tuple[Path, str]:
    """Find the file that ``written`` names, seen from ``folder``, and refuse what lies outside ``root``.

    ``..`` is allowed as long as the path stays inside ``root``; backslashes count as slashes, since Labelme on
    Windows writes them; symbolic links are followed before the check.

    Returns:
        The resolved path (it need not exist) and its POSIX form relative to the resolved ``root``.

    Raises:
        AnnotationError: an empty or absolute path, or one that leaves ``root``.
    """
    if not written.strip() or "\0" in written:
        raise AnnotationError(f"the path {written!r} names no file; write the image's path relative to the label file")
    posix = written.replace("\\", "/")
    if PurePosixPath(posix).is_absolute() or PureWindowsPath(written).drive:
        raise AnnotationError(
            f"the path {written!r} is absolute; write it relative to the label file, so that the set can be moved"
        )
    root = root.resolve()
    if any(len(part.encode()) > LONGEST_NAME for part in PurePosixPath(posix).parts):
        raise AnnotationError(f"the path {posix[:40]!r}... has a name longer than {LONGEST_NAME} bytes")
    try:
        path = (folder / posix).resolve()
    except (OSError, RuntimeError) as error:
        raise AnnotationError(f"the path {written!r} cannot be followed: {error}") from error
    if path == root or not path.is_relative_to(root):
        raise AnnotationError(
            f"the path {written!r} leads out of the images' root {root}; if the image belongs to the set, give a "
            "folder that holds it as the root (--images)"
        )
    return path, path.relative_to(root).as_posix()


def require_folder(folder: Path) -> None:
    """Refuse a path that is no folder.

    Raises:
        AnnotationError: it is not there, or a file.
    """
    if not folder.is_dir():
        raise AnnotationError(f"{folder} is not a folder; check the path")


def files_under(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the files under ``folder`` with one of ``suffixes`` (any case), sorted, hidden ones left out.

    Links to folders are followed, but not in circles. A link to nothing is listed, so that whoever reads it tells.

    Raises:
        AnnotationError: ``folder`` is not a folder, or a folder below cannot be read.
    """
    return [path for path in all_files_under(folder) if path.suffix.lower() in suffixes]


def all_files_under(folder: Path, is_leaf: Callable[[Path], bool] = lambda folder: False) -> list[Path]:
    """List all files under ``folder`` as :func:`files_under` does; the same errors.

    A folder below that ``is_leaf`` accepts is listed itself, and what is in it is not.
    """
    require_folder(folder)
    found: list[Path] = []
    leaves: list[Path] = []
    for where, folders, names in os.walk(folder, onerror=_refuse_unreadable, followlinks=True):
        real = Path(where).resolve()
        above = {real, *real.parents}
        folders[:] = [name for name in folders if name[0] != "." and Path(where, name).resolve() not in above]
        leaves += [Path(where, name) for name in folders if is_leaf(Path(where, name))]
        folders[:] = [name for name in folders if Path(where, name) not in leaves]
        found += [Path(where, name) for name in names if name[0] != "."]
    found = [path for path in found if path.is_file() or not path.exists()]  # pipes are none
    return sorted([*found, *leaves], key=lambda path: path.relative_to(folder).as_posix())


def _refuse_unreadable(error: OSError) -> None:
    raise AnnotationError(f"{error.filename}: folder cannot be read ({error.strerror}); check its permissions")
