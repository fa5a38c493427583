"""Which planes of which files make up a sample: one channel each, or several stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctc_mm.datasets.cell_records import UNNAMED_CHANNEL, CellRecord

LACKS_CHANNEL = "cell without all of the channels"
OTHER_CHANNEL = "image of another channel"


# Channels of transmitted light, whose background is bright; `image` is that of folders without a table.
BRIGHT_FIELD_NAMES = ("brightfield", "bright_field", "bright-field", "bf", "phase", "dic", UNNAMED_CHANNEL)


def is_bright_field(channel: str) -> bool:
    """Whether a channel shows transmitted light, by its name; all others are taken for fluorescence."""
    return channel.casefold() in BRIGHT_FIELD_NAMES


@dataclass(frozen=True)
class CellSample:
    """One image that a network sees.

    Attributes:
        record: the (first) image that it is made of.
        channel: names of its channels, joined by ``+``.
        paths: files in the order of the planes.
        places: plane of each file; None: all of it.
    """

    record: CellRecord
    channel: str
    paths: tuple[Path, ...]
    places: tuple[int | None, ...]


def choose_samples(
    records: Sequence[CellRecord], channels: Sequence[str] | None, combine: str
) -> tuple[list[CellSample], dict[str, int]]:
    """Turn images into samples.

    Args:
        records: images of cells.
        channels: wanted channels; None: every image as it is.
        combine: ``"samples"``: each channel of a cell is a sample; ``"stack"``: all of them are planes of one.

    Returns:
        The samples in the order of the records, and how many images (``samples``) or cells (``stack``) are left out,
        by reason.
    """
    if channels is None:
        return [CellSample(one, one.channel, (one.path,), (None,)) for one in records], {}
    cells: dict[str, list[CellRecord]] = {}
    for record in records:
        cells.setdefault(record.cell_id, []).append(record)
    samples: list[CellSample] = []
    left_out: dict[str, int] = {}
    for images in cells.values():
        if combine == "stack":
            found = [_stack(images, channels)]
            reason, lost = LACKS_CHANNEL, int(found[0] is None)
        else:
            found = [_find(images, name) for name in channels]
            used = {path for one in found if one is not None for path in one.paths}
            reason, lost = OTHER_CHANNEL, sum(image.path not in used for image in images)
        samples += [one for one in found if one is not None]
        if lost:
            left_out[reason] = left_out.get(reason, 0) + lost
    return samples, left_out


def _find(images: Sequence[CellRecord], channel: str) -> CellSample | None:
    """The image of a channel, or the planes of one file that it names; an image of that channel alone goes first."""
    for image in images:
        if image.channel == channel:
            return CellSample(image, channel, (image.path,), (None,))
    names = channel.split("+")
    for image in images:
        if set(names) <= set(image.planes):
            places = tuple(image.planes.index(name) for name in names)
            return CellSample(image, channel, (image.path,) * len(names), places)
    return None


def _stack(images: Sequence[CellRecord], channels: Sequence[str]) -> CellSample | None:
    found = [_find(images, name) for channel in channels for name in channel.split("+")]
    parts = [one for one in found if one is not None]
    if len(parts) < len(found):
        return None
    return CellSample(
        parts[0].record,
        "+".join(one.channel for one in parts),
        tuple(path for one in parts for path in one.paths),
        tuple(place for one in parts for place in one.places),
    )
