"""Slides of a count: opened as described, at the model's pixel size, a few at a time, damage recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ctc_mm.counting.records import Drop, SlideSpec
from ctc_mm.errors import SlideError
from ctc_mm.imaging.damage import DamageTolerantField
from ctc_mm.imaging.field import Field, RegionXYXY
from ctc_mm.imaging.leases import Leases
from ctc_mm.imaging.resample import resampled_field

# Cells look the same to a model within this ratio of pixel sizes.
LARGEST_SCALE_RATIO = 1.1
# Larger pixels than this many times the model's hold no detail that a resampling could bring back; smaller ones than
# this part of them are given in another unit (nm, mm). What is resampled nevertheless has hundreds of times the pixels.
LARGEST_ENLARGEMENT, LARGEST_SHRINKING = 4.0, 16.0
# Where lost blocks lie, in a count's record: so many of them.
MOST_REGIONS = 100
# Where in the file: in pixels of its own, and said of each block by the drop.
_PLACE = re.compile(r" in the region \([\d, ]+\)")


def open_slide(
    spec: SlideSpec,
    target_um_per_px: float | None = None,
    tolerant: bool = True,
    damaged_xyxy: Iterable[RegionXYXY] = (),
) -> Field:
    """Open a slide for reading.

    Args:
        spec: the slide.
        target_um_per_px: pixel size it is shown at; regions are in pixels of that size then. None: its own.
        tolerant: give a ``DamageTolerantField``, which fills and records what cannot be read.
        damaged_xyxy: with ``tolerant``, blocks that were found damaged in the first pass.

    Raises:
        ImageReadError: it cannot be opened.
        SlideError: it is to be resampled, and its pixel size is unknown.
    """
    field = spec.source.open(spec.um_per_px)
    try:
        if target_um_per_px is not None:
            if field.um_per_px is None:
                raise _unknown_pixel_size(spec, f"showing it at {target_um_per_px:g} um per px")
            field = resampled_field(field, target_um_per_px)
        return DamageTolerantField(field, damaged_xyxy=damaged_xyxy) if tolerant else field
    except ValueError:
        field.close()
        raise


def check_pixel_size(spec: SlideSpec, field: Field, model_um_per_px: float | None, resample: bool) -> float:
    """Compare the pixel size of a slide with the one that a model was trained at.

    Args:
        spec: the slide, for messages.
        field: the opened slide, at its own pixel size.
        model_um_per_px: of the model; None where it does not say: the slide is taken as it is.
        resample: whether a slide that differs may be resampled.

    Returns:
        Pixels of the model per pixel of the slide; 1.0 where the slide is to be read as it is. With another scale it is
        to be opened with ``target_um_per_px=model_um_per_px``.

    Raises:
        SlideError: they differ by more than 10 % and ``resample`` is off, or by too much for any resampling; the
            slide's is unknown.
    """
    if model_um_per_px is None:
        return 1.0
    if field.um_per_px is None:
        raise _unknown_pixel_size(spec, f"a model of {model_um_per_px:g} um per px")
    scale = field.um_per_px / model_um_per_px
    if 1 / LARGEST_SCALE_RATIO <= scale <= LARGEST_SCALE_RATIO:
        return 1.0
    if not 1 / LARGEST_SHRINKING <= scale <= LARGEST_ENLARGEMENT:
        raise SlideError(
            f"slide {spec.name} has {field.um_per_px:g} um per px, the model was trained at {model_um_per_px:g}: no "
            f"resampling helps with pixels over {LARGEST_ENLARGEMENT:g} times as large or {LARGEST_SHRINKING:g} times "
            "as small; if the size is wrong (nm or mm for um), give the true one (--um-per-px, or column um_per_px of "
            "the table of slides)"
        )
    if not resample:
        raise SlideError(
            f"slide {spec.name} has {field.um_per_px:g} um per px, the model was trained at {model_um_per_px:g}: cells "
            f"appear {1 / scale:.2g} times as large to it; let it be resampled (--resample), or give the true size "
            "(--um-per-px) if the file's is wrong"
        )
    return scale


def require_pixel_size(spec: SlideSpec, field: Field, needed_for: str) -> float:
    """Give the pixel size of a slide in um.

    Args:
        spec: the slide, for messages.
        field: the opened slide.
        needed_for: what it is needed for, as in "the size of cells in um".

    Raises:
        SlideError: it is unknown.
    """
    if field.um_per_px is None:
        raise _unknown_pixel_size(spec, needed_for)
    return field.um_per_px


def um_per_px_source(spec: SlideSpec, field: Field) -> str:
    """Say where the pixel size of a slide comes from: ``given``, ``file`` or ``unknown``."""
    if spec.um_per_px is not None:
        return "given"
    return "unknown" if field.um_per_px is None else "file"


def area_px(regions_xyxy: Iterable[RegionXYXY]) -> int:
    """Pixels in regions of which none lies over another."""
    return sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in regions_xyxy)


def drops_of(field: Field) -> tuple[Drop, ...]:
    """What could not be read of a slide so far, for its record; () where nothing is lost."""
    damage = field.damage if isinstance(field, DamageTolerantField) else ()
    if not damage:
        return ()
    blocks, messages = zip(*damage, strict=True)
    reasons = list(dict.fromkeys(_PLACE.sub("", message) for message in messages))
    reason = reasons[0] + (f"; and {len(reasons) - 1} other reasons" if len(reasons) > 1 else "")
    return (Drop("block", reason, len(blocks), area_px(blocks), blocks[:MOST_REGIONS]),)


@dataclass(frozen=True)
class _Key:
    """A slide at a pixel size; two are the same where the same pixels come out."""

    pixels: str
    spec: SlideSpec
    target_um_per_px: float | None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.pixels == other.pixels

    def __hash__(self) -> int:
        return hash(self.pixels)


class OpenSlides:
    """Slides that are kept open for their next tile, a few at a time; may be used by several threads.

    A context manager. What is found damaged in a slide is known as long as it stays open.

    Args:
        most: slides kept open, beside those in use.
        tolerant: as in ``open_slide``.
    """

    def __init__(self, most: int = 4, tolerant: bool = True) -> None:
        self._leases = Leases[_Key, Field](lambda key: open_slide(key.spec, key.target_um_per_px, tolerant), most)

    @contextmanager
    def use(
        self,
        spec: SlideSpec,
        target_um_per_px: float | None = None,
        damaged_xyxy: Iterable[RegionXYXY] = (),
    ) -> Iterator[Field]:
        """Lend a slide, opened as by ``open_slide`` where it is not yet; the same errors.

        One whose file was replaced since is opened anew: a process that lives on (a notebook, a worker of a cluster)
        must not read the former one.
        """
        stamps = [_stamp(path) for path in spec.source.paths.values()]
        pixels = repr((spec.name, spec.um_per_px, target_um_per_px, spec.source, stamps))
        with self._leases.use(_Key(pixels, spec, target_um_per_px)) as field:
            if isinstance(field, DamageTolerantField):
                field.mark_damaged(damaged_xyxy)
            yield field

    def close(self) -> None:
        """Close the slides; one in use is closed when it is given back."""
        self._leases.close()

    def __enter__(self) -> OpenSlides:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Which file lies there now; of a folder (zarr, mosaic) the folder itself. None where nothing lies."""
    try:
        status = path.stat()
    except OSError:  # opening it tells why
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _unknown_pixel_size(spec: SlideSpec, needed_for: str) -> SlideError:
    return SlideError(
        f"slide {spec.name} ({spec.source.relative_path}): the file does not say its pixel size, which is needed for "
        f"{needed_for}; give it in um (--um-per-px, or column um_per_px of the table of slides)"
    )
