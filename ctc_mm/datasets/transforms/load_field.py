"""Loading of a window of a multi-channel fluorescence field for the network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from ctc_mm.datasets.transforms.pipeline_field import field_source, open_array, read_channel_map, window_of
from ctc_mm.imaging.channels import ChannelMap
from ctc_mm.imaging.display import measure_field_range
from ctc_mm.imaging.field import Field, RegionXYXY
from ctc_mm.registry import TRANSFORMS

NETWORK_CHANNELS = 3
# Fields whose levels are kept in memory: two numbers a channel.
MOST_FIELDS = 10_000

Levels = dict[str, tuple[float, float]]


@TRANSFORMS.register_module()
class LoadField(BaseTransform):
    """Load a field, or a window of one, as three float32 channels in 0-255.

    The grey values that become 0 and 255 belong to the field: they are measured once over all of it, each channel by
    itself, never over a window, so that a cell looks the same whichever window shows it.

    Required Keys:

    - img_path (str): one file with all channels; or channel_paths (dict: channel -> path); or img (np.ndarray,
      (H, W, C) or (C, H, W), raw grey values), which is the whole field
    - channel_map (dict) (optional): channel -> place or name in the file; the data set passes it
    - region_xyxy (tuple of int) (optional): the window, half-open pixels of the field; what lies beyond the field is 0

    Modified Keys:

    - img (np.float32, (h, w, 3), 0-255)
    - img_shape, ori_shape: (h, w) of the window

    Added Keys:

    - field_levels (dict): channel -> the grey values that became 0 and 255

    Args:
        channels: the three channels in the network's order; None leaves one black (a field without CD45).
        channel_map: place or name of each channel in a file; None: that of ``results``, else dapi 0, cep8 1, cd45 2.
        percentiles: of the field's grey values, which become 0 and 255. CEP8 signals are few pixels: the upper one has
            to be high.
        white_level: instead of percentiles, the grey value that becomes 255 (and 0 stays 0); one number, or one a
            channel. For sets of one camera and one exposure, whose brightness may be compared.

    Raises:
        ValueError: an argument out of its range; or (on use) an array of another shape.
        ConfigError: (on use) no field, or a window outside of it.
        ImageReadError: (on use) the field cannot be read.
    """

    def __init__(
        self,
        channels: Sequence[str | None] = ("dapi", "cep8", "cd45"),
        channel_map: ChannelMap | str | None = None,
        percentiles: tuple[float, float] = (1.0, 99.99),
        white_level: float | Mapping[str, float] | None = None,
    ) -> None:
        self.channels = tuple(channels)
        if len(self.channels) != NETWORK_CHANNELS or not any(self.channels):
            raise ValueError(f"channels must be three names, None for a black one, received {channels!r}")
        if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError(f"percentiles must be two rising numbers from 0 to 100, received {percentiles!r}")
        self.channel_map, self.percentiles = read_channel_map(channel_map), tuple(percentiles)
        if white_level is not None and not isinstance(white_level, Mapping):
            white_level = {name: white_level for name in self.channels if name}
        lacking = [name for name in self.channels if name and name not in white_level] if white_level else []
        wrong = [value for value in (white_level or {}).values() if not (math.isfinite(value) and value > 0)]
        if lacking or wrong:
            raise ValueError(f"white_level must be a number above 0 for each channel, received {white_level!r}")
        self.white_level = None if white_level is None else dict(white_level)
        self._levels: dict[tuple, Levels] = {}

    def transform(self, results: dict) -> dict:
        """Load the window of ``results`` and describe it there."""
        source = field_source(results, self.channel_map)
        if source is None:
            with open_array(results, self.channel_map, "LoadField") as field:
                levels = self._measure(field)
                image = self._read(field, levels, window_of(results, field.size_wh, "LoadField"))
        else:
            with source.open(results.get("um_per_px")) as field:
                levels = self._levels_of_files(field)
                image = self._read(field, levels, window_of(results, field.size_wh, "LoadField"))
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        results["field_levels"] = levels
        return results

    def _levels_of_files(self, field: Field) -> Levels:
        """Levels of a field on disk, measured again only if its files change."""
        states = [path.stat() for path in field.paths]
        place = tuple((str(path), one.st_size, one.st_mtime_ns) for path, one in zip(field.paths, states, strict=True))
        if place not in self._levels:
            if len(self._levels) >= MOST_FIELDS:
                self._levels.clear()
            self._levels[place] = self._measure(field)
        return dict(self._levels[place])

    def _measure(self, field: Field) -> Levels:
        names = dict.fromkeys(name for name in self.channels if name)
        if self.white_level is not None:
            return {name: (0.0, float(self.white_level[name])) for name in names}
        ranges = {name: measure_field_range(field, name, self.percentiles) for name in names}
        return {name: (found.low, found.high) for name, found in ranges.items()}

    def _read(self, field: Field, levels: Levels, window: RegionXYXY) -> np.ndarray:
        x0, y0, x1, y1 = window
        inside = (max(x0, 0), max(y0, 0), min(x1, field.size_wh[0]), min(y1, field.size_wh[1]))
        names = list(dict.fromkeys(name for name in self.channels if name))
        planes = dict(zip(names, field.read(names, inside), strict=True))
        image = np.zeros((y1 - y0, x1 - x0, NETWORK_CHANNELS), np.float32)
        seen = image[inside[1] - y0 : inside[3] - y0, inside[0] - x0 : inside[2] - x0]
        for place, name in enumerate(self.channels):
            if name:
                seen[..., place] = _stretch(planes[name], *levels[name])
        return image

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(channels={self.channels}, channel_map={self.channel_map}, "
            f"percentiles={self.percentiles}, white_level={self.white_level})"
        )


def _stretch(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """Grey values from ``low`` to ``high`` as float32 from 0 to 255; where the two are one, that value is 0."""
    above = plane.astype(np.float32) - np.float32(low)
    return np.clip(above * np.float32(255 / (high - low)), 0, 255) if high > low else np.float32(255) * (above > 0)
