"""How the channels of a slide are shown: which pictures of a cell, in which colours, between which grey values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.cell_picture import BRIGHT_FIELD_PERCENTILES
from ctc_mm.imaging.display import (
    FLUORESCENCE_PERCENTILES,
    RGB,
    DisplayRange,
    as_rgb,
    composite,
    measure_display_range,
    stretch_for_display,
)
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.tiff_field import RGB_NAMES
from ctc_mm.imfish.picture import CHANNEL_COLOURS

# Channels that light shines through: dark on bright, and not to be added to those that shine by themselves.
TRANSMITTED = ("brightfield", "bright-field", "bright_field", "bf", "phase", "dic", "transmitted", "grey", "gray")
# For channels that the paper gives no colour, brightest first, told apart by all eyes.
_OTHER_COLOURS: tuple[RGB, ...] = ((0, 200, 130), (235, 225, 70), (215, 90, 200), (120, 200, 255))
COLOUR = "colour"
# Grey values are measured on so many blocks spread over the slide, and around so many cells.
_BLOCKS_A_SIDE, _BLOCK_PX, _SAMPLED_CELLS = 5, 192, 96


@dataclass(frozen=True)
class Panel:
    """One picture of a cell.

    Attributes:
        name: of the channel, or ``colour``.
        channels: of the slide that it is made of.
        is_composite: whether they are added up, each in its colour; else one is grey, and three are red, green, blue.
    """

    name: str
    channels: tuple[str, ...]
    is_composite: bool = False


@dataclass(frozen=True)
class ChannelLook:
    """How a slide is shown; the same for all its cells, so that their brightness can be compared.

    Attributes:
        panels: pictures of a cell, from left to right.
        ranges: channel name to the grey values shown as black and white.
        colours: channel name to its colour in the composite.
    """

    panels: tuple[Panel, ...]
    ranges: Mapping[str, DisplayRange]
    colours: Mapping[str, RGB]

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels that are read, in order."""
        return tuple(self.ranges)

    def draw(self, block: np.ndarray) -> list[np.ndarray]:
        """Draw every panel.

        Args:
            block: (C, h, w), channels in the order of ``channels``.

        Returns:
            uint8 (h, w, 3) RGB each.
        """
        shown = {
            name: stretch_for_display(plane, self.ranges[name])
            for name, plane in zip(self.channels, block, strict=True)
        }
        return [self._panel(panel, shown) for panel in self.panels]

    def _panel(self, panel: Panel, shown: Mapping[str, np.ndarray]) -> np.ndarray:
        planes = [shown[name] for name in panel.channels]
        if panel.is_composite:
            return composite(planes, [self.colours[name] for name in panel.channels])
        return as_rgb(planes[0]) if len(planes) == 1 else np.stack(planes, axis=-1)

    def caption(self) -> str:
        """Say what is black and what is white."""
        is_rgb = any(len(panel.channels) == 3 and not panel.is_composite for panel in self.panels)
        names = ["colours"] if is_rgb else []
        names += [name for name in self.ranges if not (is_rgb and name in RGB_NAMES)]
        ranges = [f"{name} {self.ranges[RGB_NAMES[0] if name == 'colours' else name]}" for name in names]
        return f"Grey values shown from black to white, the same for all cells: {', '.join(ranges)}"


def choose_panels(channels: Sequence[str]) -> tuple[Panel, ...]:
    """The pictures of a cell for the channels of a slide: all colours together first, then one a channel."""
    is_rgb = set(RGB_NAMES) <= set(channels)
    single = [name for name in channels if not (is_rgb and name in RGB_NAMES)]
    shining = tuple(name for name in single if not is_transmitted(name))
    panels = [Panel(COLOUR, RGB_NAMES)] if is_rgb else []
    if len(shining) > 1:
        panels.append(Panel("overlay" if is_rgb else COLOUR, shining, is_composite=True))
    return (*panels, *(Panel(name, (name,)) for name in single))


def is_transmitted(channel: str) -> bool:
    """Whether light shines through, as far as the name tells."""
    return channel.lower() in TRANSMITTED


def measure_look(field: Field, boxes_xyxy: np.ndarray) -> ChannelLook:
    """Measure the grey values to show, on blocks spread over the slide and around some cells.

    Args:
        field: the slide.
        boxes_xyxy: float (N, 4) px, its cells; N may be 0.

    Raises:
        ImageReadError: none of the blocks can be read.
    """
    panels = choose_panels(field.channels)
    used = {name for panel in panels for name in panel.channels}
    channels = [name for name in field.channels if name in used]
    sample = _sample(field, channels, boxes_xyxy)
    ranges = {name: _range_of(name, sample[place], len(channels)) for place, name in enumerate(channels)}
    if set(RGB_NAMES) <= set(channels):
        planes = sample[[channels.index(name) for name in RGB_NAMES]]
        shared = _colour_range(planes)
        ranges |= dict.fromkeys(RGB_NAMES, shared)
    return ChannelLook(panels, ranges, _colours(channels))


def _range_of(name: str, values: np.ndarray, n_channels: int) -> DisplayRange:
    shines = name.lower() in CHANNEL_COLOURS or (n_channels > 1 and not is_transmitted(name))
    percentiles = FLUORESCENCE_PERCENTILES if shines else BRIGHT_FIELD_PERCENTILES
    return measure_display_range(values[None], percentiles)


def _colour_range(planes: np.ndarray) -> DisplayRange:
    """Colours of 8 bits look as the camera gave them; deeper ones are stretched, all three alike, so that hues stay."""
    if planes.dtype == np.uint8:
        return DisplayRange(0.0, 255.0)
    return measure_display_range(planes, BRIGHT_FIELD_PERCENTILES)


def _colours(channels: Sequence[str]) -> dict[str, RGB]:
    others = iter(_OTHER_COLOURS * (len(channels) // len(_OTHER_COLOURS) + 1))
    return {name: CHANNEL_COLOURS.get(name.lower()) or next(others) for name in channels}


def _sample(field: Field, channels: Sequence[str], boxes_xyxy: np.ndarray) -> np.ndarray:
    """Grey values (C, n) of blocks on a grid and around cells; blocks that cannot be read are left out."""
    width, height = field.size_wh
    centres = [
        ((column + 0.5) * width / _BLOCKS_A_SIDE, (row + 0.5) * height / _BLOCKS_A_SIDE, _BLOCK_PX)
        for row in range(_BLOCKS_A_SIDE)
        for column in range(_BLOCKS_A_SIDE)
    ]
    chosen = boxes_xyxy[:: max(1, -(-len(boxes_xyxy) // _SAMPLED_CELLS))]
    centres += [((x0 + x1) / 2, (y0 + y1) / 2, min(x1 - x0, _BLOCK_PX)) for x0, y0, x1, y1 in chosen.tolist()]
    regions = dict.fromkeys(_region(x, y, side, field.size_wh) for x, y, side in centres)
    found, problem = [], None
    for region in regions:
        try:
            found.append(field.read(channels, region).reshape(len(channels), -1))
        except ImageReadError as error:
            problem = error
    if not found:
        raise problem if problem is not None else ImageReadError(f"{field.name}: no pixels")
    return np.concatenate(found, axis=1)


def _region(x: float, y: float, side: float, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    half = max(1, round(side / 2))
    x0, y0 = max(0, min(int(x) - half, size_wh[0] - 1)), max(0, min(int(y) - half, size_wh[1] - 1))
    return x0, y0, min(x0 + 2 * half, size_wh[0]), min(y0 + 2 * half, size_wh[1])
