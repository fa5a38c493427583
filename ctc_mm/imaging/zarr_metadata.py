"""What a zarr folder holds: the array of the full image, its axes, channel names and pixel size.

OME-Zarr as specified in OME-NGFF (Moore et al., Histochem. Cell Biol. 160, 2023): 0.4 (metadata at the root of the
attributes) and 0.5 (under ``ome``); the older 0.1 to 0.3 where they say the same. Plain arrays by their shape.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.decode import DECODING_ERRORS
from ctc_mm.imaging.slide_folders import ZARR_METADATA
from ctc_mm.imaging.tiff_metadata import UM_PER_UNIT

# What zarr and its decoders raise on damaged data, beside what others do; a damaged header may ask for any memory.
ZARR_ERRORS = (*DECODING_ERRORS, zlib.error, lzma.LZMAError, MemoryError)
# OME-NGFF writes units out; without a unit a scale says nothing.
UM_PER_NGFF_UNIT = {
    **UM_PER_UNIT,
    "meter": 1e6,
    "decimeter": 1e5,
    "centimeter": 1e4,
    "millimeter": 1e3,
    "nanometer": 1e-3,
    "picometer": 1e-6,
    "angstrom": 1e-4,
}
# Axes before version 0.3 were always these.
_OLD_AXES = "tczyx"
_RGB_LETTERS = ("r", "g", "b")
_RGB_NAMES = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class ZarrImage:
    """The full image of a zarr folder.

    Attributes:
        array: of zarr; nothing of it is read.
        axes: a letter for each of its axes: y, x, c (channel), s (sample of a pixel), z, t, or another.
        names: of its channels, or () where it names none.
        um_per_px_xy: width and height of a pixel in micrometres, or None.
        notes: remarks a user should see.
    """

    array: Any
    axes: str
    names: tuple[str | None, ...] = ()
    um_per_px_xy: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def open_zarr_image(path: Path) -> ZarrImage:
    """Find the full image (level 0) of a zarr folder.

    Raises:
        ImageReadError: no zarr metadata, damaged metadata, a group without an image, a plate.
    """
    import zarr

    if not any((path / name).is_file() for name in ZARR_METADATA):
        raise ImageReadError(
            f"{path}: holds no zarr metadata ({', '.join(ZARR_METADATA)}); copy the whole folder, hidden files too, or "
            "export it again"
        )
    try:
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            return _plain_image(node, path)
        return _ome_image(node, path)
    except ImageReadError:
        raise
    except ZARR_ERRORS as error:
        raise ImageReadError(f"{path}: damaged zarr metadata ({error}); copy or export it again") from error


def _plain_image(array: Any, path: Path) -> ZarrImage:
    named = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if named and all(named):
        axes = "".join(str(name)[:1].lower() for name in named)
        if len(set(axes)) == len(axes) and {"x", "y"} <= set(axes):
            return ZarrImage(array, axes)
    shape = array.shape
    if len(shape) == 2:
        return ZarrImage(array, "yx")
    if len(shape) == 3:
        is_colour = shape[2] in (3, 4) and min(shape[:2]) > 4
        return ZarrImage(array, "yxs" if is_colour else "cyx")
    raise ImageReadError(
        f"{path}: zarr array of shape {shape} that does not name its axes; save it as (y, x), (channel, y, x) or "
        "OME-Zarr"
    )


def _ome_image(group: Any, path: Path) -> ZarrImage:
    attributes = dict(group.attrs)
    metadata = attributes.get("ome", attributes)
    if "plate" in metadata or "well" in metadata:
        raise ImageReadError(f"{path}: is a plate of images; give one of them, such as {path.name}/A/1/0")
    notes: tuple[str, ...] = ()
    if "multiscales" not in metadata and "bioformats2raw.layout" in metadata and "0" in group:
        # A scanner's slide: the image first, label and macro picture after it.
        others = sum(key.isdecimal() for key in group.group_keys()) - 1
        group = group["0"]
        attributes = dict(group.attrs)
        metadata = attributes.get("ome", attributes)
        notes = (f"{path}: the first of {others + 1} images is read",) if others else ()
    multiscales = metadata.get("multiscales")
    if not multiscales:
        inside = ", ".join(sorted(group.keys())[:5]) or "nothing"
        raise ImageReadError(
            f"{path}: a zarr group without image metadata (multiscales), holding {inside}; give one of its arrays, or "
            "export it as OME-Zarr"
        )
    return _multiscale_image(group, multiscales[0], metadata, notes, path)


def _multiscale_image(
    group: Any, multiscale: Mapping[str, Any], metadata: Mapping[str, Any], notes: tuple[str, ...], path: Path
) -> ZarrImage:
    import zarr

    dataset = multiscale["datasets"][0]  # from the largest to the smallest
    array = group[dataset["path"]]
    if not isinstance(array, zarr.Array):
        raise ImageReadError(f"{path}: level 0 ({dataset['path']}) is no array; export it again")
    axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in multiscale.get("axes", _OLD_AXES)]
    letters = "".join(str(axis["name"])[:1].lower() for axis in axes)
    if len(axes) != len(array.shape) or len(set(letters)) != len(axes):
        raise ImageReadError(
            f"{path}: axes {[axis['name'] for axis in axes]} do not fit an array of shape {array.shape}; export it "
            "again"
        )
    scale = _scale(len(axes), dataset, multiscale)
    um = [_side_um(axes, letters, letter, scale) for letter in "xy"]
    pair = None if None in um else (float(f"{um[0]:.9g}"), float(f"{um[1]:.9g}"))
    return ZarrImage(array, letters, _channel_names(metadata), pair, notes)


def _scale(count: int, *holders: Mapping[str, Any]) -> list[float] | None:
    """Product of the scales of a level and of all levels; None where there is none."""
    scales = [
        transformation["scale"]
        for holder in holders
        for transformation in holder.get("coordinateTransformations") or ()
        if transformation.get("type") == "scale" and len(transformation.get("scale", ())) == count
    ]
    if not scales:
        return None
    product = [1.0] * count
    for scale in scales:
        product = [one * float(other) for one, other in zip(product, scale, strict=True)]
    return product


def _side_um(axes: Sequence[Mapping[str, Any]], letters: str, letter: str, scale: list[float] | None) -> float | None:
    place = letters.find(letter)
    if scale is None or place < 0 or not scale[place] > 0:
        return None
    um = UM_PER_NGFF_UNIT.get(str(axes[place].get("unit", "")).strip().lower())
    return None if um is None else scale[place] * um


def _channel_names(metadata: Mapping[str, Any]) -> tuple[str | None, ...]:
    channels = (metadata.get("omero") or {}).get("channels") or ()
    names = tuple(str(channel["label"]).strip() or None if channel.get("label") else None for channel in channels)
    lower = tuple(str(name).casefold() for name in names)
    return _RGB_NAMES if lower in (_RGB_LETTERS, _RGB_NAMES) else names
