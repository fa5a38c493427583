"""What a TIFF says about its channels: names and size of a pixel (OME-XML, ImageJ, Zeiss LSM, Aperio, TIFF tags)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import tifffile
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ctc_mm.errors import ImageReadError

# Micrometres in each unit of length that OME-XML and ImageJ write; others (pixel, reference frame) say nothing.
UM_PER_UNIT = {
    "m": 1e6,
    "dm": 1e5,
    "cm": 1e4,
    "mm": 1e3,
    "µm": 1.0,
    "μm": 1.0,  # the Greek letter, which looks the same as the micro sign above
    "um": 1.0,
    "\\u00b5m": 1.0,  # as ImageJ escapes it
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "pm": 1e-6,
    "å": 1e-4,
    "in": 25400.0,
    "inch": 25400.0,
}
# Resolution tags are set for printing by default (72 to 1200 dots an inch, 21 um or more); microscopes are finer.
COARSEST_TRUSTED_UM = 10.0
FINEST_TRUSTED_UM = 0.005
# No microscope's camera has smaller or larger pixels in the specimen; a file that says so has its unit wrong.
SMALLEST_UM, LARGEST_UM = 0.001, 100.0
# Sides of a pixel may differ by so much and still be rounding.
SQUARE_TOLERANCE = 0.01

_LSM_METRES_TO_UM = 1e6


@dataclass(frozen=True)
class TiffMetadata:
    """What a TIFF says about its channels.

    Attributes:
        names: names of the channels in order; None where one has no name; () where the file names none.
        um_per_px_xy: width and height of a pixel in micrometres, or None.
        notes: remarks a user should see.
    """

    names: tuple[str | None, ...] = ()
    um_per_px_xy: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def read_tiff_metadata(file: tifffile.TiffFile) -> TiffMetadata:
    """Read names and pixel size from the metadata that the file carries.

    To be called before ``file.series``: it refuses XML that would harm the parser tifffile uses.

    Raises:
        ImageReadError: XML with entities or a document type (which no microscope writes), or an OME-TIFF that refers to
            files of other folders.
    """
    description = file.pages.first.description
    if declares_entities(description):
        raise ImageReadError(f"{_path(file)}: its XML declares entities, which can be used to harm; export it again")
    if file.is_lsm:
        metadata = file.lsm_metadata
        return _lsm(metadata) if isinstance(metadata, dict) else TiffMetadata(notes=("LSM metadata is damaged",))
    if file.is_ome:
        return _ome(file, description)
    if file.is_imagej:
        return _imagej(file)
    if file.is_svs:
        return TiffMetadata(um_per_px_xy=_aperio(description) or _resolution(file.pages.first))
    return TiffMetadata(um_per_px_xy=_resolution(file.pages.first))


def _aperio(description: str) -> tuple[float, float] | None:
    """Pixel size of an Aperio slide scanner: ``...|MPP = 0.2525|...`` in micrometres per pixel."""
    found = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", description)
    side = _positive(found[1]) if found else None
    return _pair(side, side)


def declares_entities(description: str) -> bool:
    """Say whether an image description holds XML that could harm a parser: a few bytes that grow to gigabytes."""
    return "<!DOCTYPE" in description or "<!ENTITY" in description


def square_um_per_px(um_per_px_xy: tuple[float, float], where: str) -> float:
    """Side of a square pixel from its width and height.

    Raises:
        ImageReadError: they differ by more than rounding, or are no microscope's.
    """
    width, height = um_per_px_xy
    if not SMALLEST_UM <= min(width, height) <= max(width, height) <= LARGEST_UM:
        raise ImageReadError(
            f"{where}: says that a pixel is {width:g} x {height:g} um, which no microscope's is; give um_per_px, or "
            "mend its unit"
        )
    if abs(width - height) > SQUARE_TOLERANCE * min(width, height):
        raise ImageReadError(
            f"{where}: pixels are not square ({width:g} x {height:g} um); resample it or give um_per_px"
        )
    return width


def _ome(file: tifffile.TiffFile, description: str) -> TiffMetadata:
    try:
        root = fromstring(description, forbid_dtd=True)
    except DefusedXmlException as error:
        raise ImageReadError(f"{_path(file)}: its OME-XML is not safe to read ({error}); export it again") from error
    except ParseError as error:
        note = f"OME-XML is damaged ({error}): channels have no names, the pixel size is unknown"
        return TiffMetadata(notes=(note,))
    _refuse_foreign_folders(root, file)
    pixels = next((element for element in root.iter() if _tag(element) == "Pixels"), None)
    if pixels is None:
        return TiffMetadata()
    names: list[str | None] = []
    for channel in pixels:
        if _tag(channel) == "Channel":
            name = channel.get("Name") or channel.get("Fluor")
            samples = _whole_number(channel.get("SamplesPerPixel"))
            names += [name] if samples <= 1 else [None] * samples
    sides = [_ome_length(pixels, side) for side in ("PhysicalSizeX", "PhysicalSizeY")]
    return TiffMetadata(tuple(names), _pair(*sides))


def _refuse_foreign_folders(root: Element, file: tifffile.TiffFile) -> None:
    """A set of OME-TIFF files names its members; a name that leaves the folder is a mistake or a trap."""
    for element in root.iter():
        name = element.get("FileName") if _tag(element) == "UUID" else None
        if name and (PurePosixPath(name).name != name or PureWindowsPath(name).name != name):
            raise ImageReadError(
                f"{_path(file)}: its OME-XML refers to {name!r} in another folder; export it as one file"
            )


def _ome_length(pixels: Element, side: str) -> float | None:
    # The schema's default unit is the micrometre.
    return _to_um(pixels.get(side), pixels.get(f"{side}Unit", "um"))


def _imagej(file: tifffile.TiffFile) -> TiffMetadata:
    metadata: Mapping[str, Any] = file.imagej_metadata or {}
    count = _whole_number(metadata.get("channels", metadata.get("images", 1)))
    labels = [str(label).strip() or None for label in _listed(metadata.get("Labels"))]
    unit = str(metadata.get("unit", ""))
    page = file.pages.first
    per_unit = [_ratio(page, tag) for tag in ("XResolution", "YResolution")]
    sides = [_to_um(1 / value, unit) if value else None for value in per_unit]
    return TiffMetadata(tuple(labels) if len(labels) == count else (), _pair(*sides))


def _lsm(metadata: Mapping[str, Any]) -> TiffMetadata:
    colors = metadata.get("ChannelColors") or {}
    names = tuple(str(name).strip() or None for name in _listed(colors.get("ColorNames")))
    sides = [_positive(metadata.get(f"VoxelSize{axis}")) for axis in "XY"]
    um = [side * _LSM_METRES_TO_UM if side is not None else None for side in sides]
    return TiffMetadata(names, _pair(*um))


def _resolution(page: tifffile.TiffPage) -> tuple[float, float] | None:
    unit = page.tags.get("ResolutionUnit")
    um_per_unit = {2: 25400.0, 3: 1e4}.get(int(unit.value) if unit is not None else 2)
    per_unit = [_ratio(page, tag) for tag in ("XResolution", "YResolution")]
    if um_per_unit is None or not all(per_unit):
        return None
    sides = [um_per_unit / value for value in per_unit]
    return _pair(*sides) if all(FINEST_TRUSTED_UM <= side <= COARSEST_TRUSTED_UM for side in sides) else None


def _ratio(page: tifffile.TiffPage, tag_name: str) -> float | None:
    """Value of a rational tag above 0, or None."""
    tag = page.tags.get(tag_name)
    if tag is None or not isinstance(tag.value, tuple) or len(tag.value) != 2 or not tag.value[1]:
        return None
    return _positive(tag.value[0] / tag.value[1])


def _to_um(length: object, unit: str) -> float | None:
    value, um = _positive(length), UM_PER_UNIT.get(unit.strip().lower())
    return value * um if value is not None and um is not None else None


def _positive(value: object) -> float | None:
    """Take a number above 0; whatever else a file says there is no size."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _pair(width: float | None, height: float | None) -> tuple[float, float] | None:
    if width is None or height is None:
        return None
    # Nine digits are more than any microscope is calibrated to; the rest is rounding of the units.
    return float(f"{width:.9g}"), float(f"{height:.9g}")


def _whole_number(value: object) -> int:
    number = _positive(value)
    return int(number) if number is not None else 1


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _path(file: tifffile.TiffFile) -> str:
    return file.filehandle.path
