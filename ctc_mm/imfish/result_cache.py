"""Results of the rule, each found once: on disk by the content of the field, in memory by its files.

A file on disk is named by everything that decides the result: pixels, channels, size of a pixel, settings, and the
code of the rule itself. So a stale result is never read, and a field may be moved or renamed.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy

from ctc_mm import imaging
from ctc_mm.errors import AnnotationError
from ctc_mm.formats.files import atomic_write_text
from ctc_mm.formats.report import Progress, no_progress
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.field_list import FieldSource
from ctc_mm.imfish.classify import classify_field
from ctc_mm.imfish.records import FieldResult
from ctc_mm.imfish.settings import ImFISHSettings

# Rows read at once while a field is hashed; those of a tiled file's tiles.
STRIP_ROWS = 256
# Nuclei kept in memory, each about a kilobyte; a field counts as so many more.
MOST_NUCLEI, NUCLEI_PER_FIELD = 200_000, 500


def _digest_rule() -> str:
    """Digest of the code (and weights) that results depend on, and of the libraries that compute them."""
    digest = hashlib.sha256(f"numpy {np.__version__} opencv {cv2.__version__} scipy {scipy.__version__}".encode())
    for folder in (Path(__file__).parent, Path(imaging.__file__).parent):
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".onnx"):
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


# Taken when the code is loaded: what is edited later is not what runs.
RULE_VERSION = _digest_rule()


def content_key(field: Field, settings: ImFISHSettings, um_per_px: float | None = None) -> str:
    """Name of a field's result: sha256 of all that decides it. The field is read in strips.

    Args:
        field: with the channels that the mode needs.
        settings: choices of the rule.
        um_per_px: size of a pixel; None: the field's.

    Raises:
        ImageReadError: pixels that are damaged or not finite.
    """
    wanted = ("dapi", "cep8", "cd45") if settings.mode == "full" else ("dapi", "cep8")
    channels = [name for name in wanted if name in field.channels]
    head = {
        "rule": RULE_VERSION,
        "channels": channels,
        "size_wh": field.size_wh,
        "dtype": field.dtype.name,
        "um_per_px": um_per_px or field.um_per_px,
        "settings": settings.to_dict(),
    }
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    width, height = field.size_wh
    for top in range(0, height, STRIP_ROWS):
        strip = field.read(channels, (0, top, width, min(top + STRIP_ROWS, height)))
        digest.update(strip.astype(strip.dtype.newbyteorder("<"), copy=False))
    return digest.hexdigest()


class ResultCache:
    """Judges fields, each once.

    Args:
        folder: where results are kept as ``<key>.json``, for other runs too; None: in memory only.
        most_nuclei: nuclei kept in memory; of the fields over it those longest not asked for are forgotten.
    """

    def __init__(self, folder: str | Path | None = None, most_nuclei: int = MOST_NUCLEI) -> None:
        self.folder = None if folder is None else Path(folder)
        self.most_nuclei = most_nuclei
        self._results: OrderedDict[tuple, FieldResult] = OrderedDict()
        self._held = 0

    def classify_source(
        self,
        source: FieldSource,
        settings: ImFISHSettings,
        um_per_px: float | None = None,
        *,
        workers: int | None = None,
        progress: Progress = no_progress,
    ) -> FieldResult:
        """Result of a field on disk; its files are neither read nor hashed again while they stay as they are.

        Args:
            source: the field, with the channels ``dapi``, ``cep8`` and, in ``full`` mode, ``cd45``.
            settings: choices of the rule.
            um_per_px: size of a pixel; None: from the files, or from the nuclei.
            workers: threads; see ``classify_field``.
            progress: likewise.

        Raises:
            ImageReadError: the field cannot be read.
            AnnotationError: a damaged result on disk.
        """
        place = (_files_of(source), tuple((source.channels or {}).items()), um_per_px, settings)
        result = self._results.get(place)
        if result is None:
            with source.open(um_per_px) as field:
                result = self.classify_open(field, settings, workers=workers, progress=progress)
            self._remember(place, result)
        self._results.move_to_end(place)
        return replace(result, name=source.name)

    def classify_open(
        self,
        field: Field,
        settings: ImFISHSettings,
        um_per_px: float | None = None,
        *,
        workers: int | None = None,
        progress: Progress = no_progress,
    ) -> FieldResult:
        """Result of an open field, from disk where it is there; arguments and errors as in ``classify_source``."""
        path = None
        if self.folder is not None:
            key = content_key(field, settings, um_per_px)
            path = self.folder / f"{key}.json"
            if path.is_file():
                return replace(read_result(path), name=field.name)
        result = classify_field(field, um_per_px=um_per_px, settings=settings, workers=workers, progress=progress)
        if path is not None:
            write_result(path, result)
        return result

    def _remember(self, place: tuple, result: FieldResult) -> None:
        self._results[place] = result
        self._held += _weight(result)
        while self._held > self.most_nuclei and len(self._results) > 1:
            _, forgotten = self._results.popitem(last=False)
            self._held -= _weight(forgotten)


def write_result(path: str | Path, result: FieldResult) -> None:
    """Write a result as JSON whose name is the key, whole or not at all, with a digest of its own."""
    text = json.dumps(result.to_dict(), allow_nan=False)
    atomic_write_text(path, json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()}) + "\n" + text + "\n")


def read_result(path: str | Path) -> FieldResult:
    """Read what ``write_result`` wrote: the very same result, numbers to the last bit.

    Raises:
        AnnotationError: the file is truncated or was changed.
    """
    path = Path(path)
    try:
        head, _, text = path.read_text(encoding="utf-8").partition("\n")
        content: dict[str, Any] = json.loads(text)
        if json.loads(head)["sha256"] != hashlib.sha256(text.rstrip("\n").encode()).hexdigest():
            raise ValueError("its digest does not fit")
        return FieldResult.from_dict(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(
            f"{path}: a damaged result of the imFISH rule ({type(error).__name__}: {error}); delete the file, it is "
            "made again"
        ) from error


def _files_of(source: FieldSource) -> tuple[tuple[str, str, int, int], ...]:
    """Channel, path, size and time of each file; a missing file is told by whoever opens it."""
    found = []
    for channel, path in source.paths.items():
        state = Path(path).stat() if Path(path).exists() else None
        found.append((channel, str(path), *((state.st_size, state.st_mtime_ns) if state else (-1, -1))))
    return tuple(found)


def _weight(result: FieldResult) -> int:
    return len(result.records) + NUCLEI_PER_FIELD
