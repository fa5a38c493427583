"""Which channels of a slide a classifier of cells is shown, and in which of them its cells are found."""

from __future__ import annotations

from ctc_mm.counting.engines.base import ModelInfo
from ctc_mm.counting.records import SlideSpec
from ctc_mm.datasets.cell_channels import is_bright_field
from ctc_mm.errors import SlideError
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.one_field import BRIGHT_FIELD
from ctc_mm.imaging.tiff_field import RGB_NAMES


def choose_channels(spec: SlideSpec, field: Field, info: ModelInfo) -> tuple[tuple[str, ...], tuple[int, ...], bool]:
    """Choose by name; a slide of one channel, or in colour, is taken for the bright field that a model asks for.

    Args:
        spec: the slide, for messages.
        field: the opened slide.
        info: of the model; one that does not know its channel is taken for one of bright field.

    Returns:
        The slide's channels in the model's order; the places among them of the image that cells are found in (several:
        red, green and blue); and whether that is bright field.

    Raises:
        SlideError: a channel that the model needs is not there.
    """
    wanted = (info.channel or BRIGHT_FIELD).split("+")
    found = [_find(name, field, alone=len(wanted) == 1) for name in wanted]
    missing = [name for name, theirs in zip(wanted, found, strict=True) if theirs is None]
    if missing:
        example = ",".join(f"{name}={place}" for place, name in enumerate(wanted))
        raise SlideError(
            f"slide {spec.name}: {info.name} was trained on channel {'+'.join(wanted)}, and none of the slide's "
            f"channels ({', '.join(field.channels)}) is named {', '.join(missing)}; say which it is (--channels "
            f"{example})"
        )
    channels = tuple(name for theirs in found for name in theirs)
    bright = [place for place, name in enumerate(wanted) if is_bright_field(name)]
    if bright:
        places = tuple(range(len(channels))) if len(wanted) == 1 else (bright[0],)
        return channels, places, True
    nuclei = next((place for place, name in enumerate(wanted) if name.casefold() == "dapi"), 0)
    return channels, (nuclei,), False


def _find(name: str, field: Field, alone: bool) -> tuple[str, ...] | None:
    """Channels of the slide that a channel of the model is."""
    same = [theirs for theirs in field.channels if theirs.casefold() == name.casefold()]
    if same:
        return (same[0],)
    if not is_bright_field(name):
        return field.channels if alone and len(field.channels) == 1 and field.channels[0].isdecimal() else None
    bright = [theirs for theirs in field.channels if is_bright_field(theirs)]
    if bright:
        return (bright[0],)
    if not alone:
        return None
    return field.channels if len(field.channels) == 1 or field.channels == RGB_NAMES else None
