"""Single-cell images on disk: ImageNet-style folders ``<split>/<label>/<file>`` and ``cells.csv`` (design.md, 5).

Every converter to single cells writes through :class:`CellSetWriter`; whoever trains reads :func:`read_cells_csv`.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import tifffile

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.cell_table import (
    CELLS_FILE,
    COLUMNS,
    NO_SPLIT,
    UNLABELLED,
    CellRow,
    check_against,
    count_cells,
    format_cells_csv,
    read_cells_csv,
)
from ctc_mm.formats.files import atomic_write_bytes, atomic_write_text
from ctc_mm.imaging.io import open_field, read_image, write_image

__all__ = [
    "CELLS_FILE",
    "COLUMNS",
    "NO_SPLIT",
    "UNLABELLED",
    "CellRow",
    "CellSetWriter",
    "count_cells",
    "read_cell_image",
    "read_cells_csv",
]

IMAGE_SUFFIXES = (".png", ".tif")
PIXEL_TYPES = ("uint8", "uint16", "float32")
# Bytes of a file name without its suffix; longer ones end in a digest.
LONGEST_STEM = 150


class CellSetWriter:
    """Writes images of cells, and ``cells.csv`` at the end; used as a context manager.

    Images are staged in a hidden folder and take their places when the block ends without an error, ``cells.csv`` last:
    a run that fails leaves the folder as it was. An older set in the folder is replaced, its images removed, where its
    ``cells.csv`` is the same; a different one is refused without ``overwrite``. The same rows and images in the same
    order give the same bytes.

    Args:
        out_dir: folder of the set; made if missing.
        overwrite: replace an older, different set: the images its ``cells.csv`` lists are removed, and nothing else.

    Raises:
        NotADirectoryError: ``out_dir`` is a file.
    """

    def __init__(self, out_dir: str | Path, *, overwrite: bool = False) -> None:
        self.out_dir = Path(out_dir)
        self.overwrite = overwrite
        self.rows: list[CellRow] = []
        self._by_key: dict[tuple[str, str], CellRow] = {}
        self._by_cell: dict[str, CellRow] = {}
        self._paths: set[str] = set()
        self._folders: dict[str, str] = {}
        self._staging: Path | None = None

    def __enter__(self) -> Self:
        if self.out_dir.exists() and not self.out_dir.is_dir():
            raise NotADirectoryError(20, "is a file, where a folder of cells is to be written", str(self.out_dir))
        home = self.out_dir if self.out_dir.is_dir() else self.out_dir.parent
        home.mkdir(parents=True, exist_ok=True)
        self._staging = Path(tempfile.mkdtemp(prefix=f".{self.out_dir.name}.", suffix=".partial", dir=home))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        staging, self._staging = self._staging, None
        try:
            if kind is None:
                atomic_write_text(staging / CELLS_FILE, format_cells_csv(self.rows))
                self._put_in_place(staging)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def add(self, row: CellRow, image: np.ndarray) -> CellRow:
        """Write one image of one cell.

        Args:
            row: what is known of it.
            image: (H, W) or (H, W, C), C channels in the order that ``row.channel`` names them; uint8, uint16 or
                float32. Grey and three-channel integers become PNG, float32 TIFF; two, four and more channels become a
                TIFF of C pages. Read any of them back with :func:`read_cell_image`.

        Returns:
            The row with its ``path``.

        Raises:
            ValueError: the cell has this channel already, or another label, group, split or fold in another channel;
                two labels or splits that differ in upper and lower case alone; an image of another shape or type,
                without pixels, or with NaN pixels.
            RuntimeError: the writer is not in a ``with`` block.
        """
        if self._staging is None:
            raise RuntimeError("CellSetWriter.add needs `with CellSetWriter(...) as writer:` around it")
        check_against(row, self._by_key.get(row.key), self._by_cell.get(row.cell_id))
        pixels = _check_image(row, image)
        for name in (row.split, f"{row.split}/{row.label}"):
            if self._folders.setdefault(name.casefold(), name) != name:
                raise ValueError(
                    f"{self._folders[name.casefold()]!r} and {name!r} are one folder on Windows and macOS; write the "
                    "labels and splits alike"
                )
        path = self._choose_path(row, _suffix_of(pixels))
        _write(self._staging / path, pixels)
        row = replace(row, path=path)
        self.rows.append(row)
        self._by_key[row.key] = row
        self._by_cell.setdefault(row.cell_id, row)
        return row

    def _choose_path(self, row: CellRow, suffix: str) -> str:
        """A portable name; a digest of cell and channel tells apart what would else be one file."""
        stem = f"{_portable(row.cell_id)}__{_portable(row.channel)}"
        digest = hashlib.sha256("\0".join(row.key).encode()).hexdigest()[:12]
        if len(stem) > LONGEST_STEM:
            stem = f"{stem[: LONGEST_STEM - len(digest) - 1]}-{digest}"
        path = f"{row.split}/{row.label}/{stem}{suffix}"
        if path.casefold() in self._paths:
            path = f"{row.split}/{row.label}/{stem}-{digest}{suffix}"
        self._paths.add(path.casefold())
        return path

    def _put_in_place(self, staging: Path) -> None:
        mask = os.umask(0)
        os.umask(mask)
        staging.chmod(0o777 & ~mask)  # mkdtemp makes it private
        if not self.out_dir.exists():
            staging.rename(self.out_dir)
            return
        old_files = self._old_files(staging)
        self._refuse_strangers(old_files)
        # From here to the last line the folder holds no cells.csv, so an interrupted exchange claims nothing.
        (self.out_dir / CELLS_FILE).unlink(missing_ok=True)
        for path in sorted(old_files - {row.path for row in self.rows}):
            _remove(self.out_dir, path)
        for row in self.rows:
            target = self.out_dir / row.path
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging / row.path).replace(target)
        (staging / CELLS_FILE).replace(self.out_dir / CELLS_FILE)

    def _old_files(self, staging: Path) -> set[str]:
        """Paths of the older set in the folder, which may be replaced."""
        table = self.out_dir / CELLS_FILE
        if not table.exists():
            return set()
        if not self.overwrite and table.read_bytes() != (staging / CELLS_FILE).read_bytes():
            raise AnnotationError(
                f"{self.out_dir}: holds another set of cells; choose another folder, or replace the set (--overwrite)"
            )
        return {row.path for row in read_cells_csv(table, check_images=False)}

    def _refuse_strangers(self, old_files: set[str]) -> None:
        """Images in the folders of this set that no table lists would be trained on with it."""
        known = old_files | {row.path for row in self.rows}
        for split in sorted({row.split for row in self.rows}):
            for path in sorted((self.out_dir / split).rglob("*")):
                name = path.relative_to(self.out_dir).as_posix()
                if path.suffix.lower() in (*IMAGE_SUFFIXES, ".jpg", ".jpeg", ".tiff", ".bmp") and name not in known:
                    raise AnnotationError(
                        f"{path}: an image that no {CELLS_FILE} lists, in a folder of this set; remove it or choose "
                        "another folder"
                    )


def read_cell_image(path: str | Path) -> np.ndarray:
    """Read what :class:`CellSetWriter` wrote: (H, W), or (H, W, C) with the channels in the order of ``channel``.

    Returns:
        uint8, uint16 or float32, as it was written.

    Raises:
        ImageReadError: the file is missing, truncated or no image.
    """
    path = Path(path)
    if path.suffix.lower() != ".tif":
        return read_image(path)
    with open_field(path) as field:
        planes = np.moveaxis(field.read(), 0, -1)
    return np.ascontiguousarray(planes[..., 0] if planes.shape[-1] == 1 else planes)


def _check_image(row: CellRow, image: np.ndarray) -> np.ndarray:
    pixels = np.asarray(image)
    place = f"cell {row.cell_id!r}, channel {row.channel!r} of {row.source}"
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ValueError(f"{place}: image must be (H, W) or (H, W, C) with pixels. Received: shape {pixels.shape}")
    if pixels.dtype.name not in PIXEL_TYPES:
        raise ValueError(f"{place}: image must be {', '.join(PIXEL_TYPES)}. Received: {pixels.dtype.name}")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ValueError(f"{place}: image holds NaN or infinite pixels; mend or mask them first")
    return pixels


def _suffix_of(pixels: np.ndarray) -> str:
    is_rgb_or_grey = pixels.ndim == 2 or pixels.shape[2] == 3
    return ".png" if is_rgb_or_grey and pixels.dtype != np.float32 else ".tif"


def _write(path: Path, pixels: np.ndarray) -> None:
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        write_image(path, pixels)
        return
    buffer = io.BytesIO()
    pages = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    with tifffile.TiffWriter(buffer) as writer:
        for page in pages:
            writer.write(page, photometric="minisblack", metadata=None)
    atomic_write_bytes(path, buffer.getvalue())


def _portable(name: str) -> str:
    """Letters, digits and ``+-._=`` in ASCII; nothing that hides a file or climbs."""
    return re.sub(r"[^A-Za-z0-9+=._-]", "_", name).lstrip(".-") or "_"


def _remove(root: Path, path: str) -> None:
    """Remove a file, and the folders that it leaves empty."""
    target = root / path
    target.unlink(missing_ok=True)
    for folder in list(Path(path).parents)[:-1]:
        if (root / folder).is_dir() and not any((root / folder).iterdir()):
            (root / folder).rmdir()
