"""The field that a pipeline's ``results`` speak of: its files or array, its channels, and the window of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ctc_mm.errors import ConfigError
from ctc_mm.imaging.channels import ChannelMap, check_channel_map, parse_channel_map
from ctc_mm.imaging.field import Field, RegionXYXY, field_from_arrays
from ctc_mm.imaging.field_files import field_name
from ctc_mm.imaging.field_list import FieldSource

# Where a file's channels are if nobody says: the order of the imFISH paper's Figure 2.
USUAL_CHANNELS = {"dapi": 0, "cep8": 1, "cd45": 2}


def read_channel_map(channels: ChannelMap | str | None) -> dict[str, int | str] | None:
    """Check the channel map that a transform or data set was given.

    Raises:
        ValueError: it cannot be meant; see ``parse_channel_map``.
    """
    if channels is None:
        return None
    return parse_channel_map(channels) if isinstance(channels, str) else check_channel_map(channels)


def field_source(results: dict, channels: ChannelMap | None) -> FieldSource | None:
    """The field on disk of ``results``; None where it is an array.

    Args:
        results: ``channel_paths`` (channel -> file), else ``img_path`` (one file with all channels, whose places are
            ``channels``, else ``results['channel_map']``, else 0, 1, 2); ``field_name`` where known.
        channels: the transform's own channel map.
    """
    paths = results.get("channel_paths")
    if paths is not None:
        paths = {name: Path(path) for name, path in paths.items()}
        name = results.get("field_name") or field_name(next(iter(paths.values())))
        return FieldSource(name, name, paths)
    if results.get("img_path") is None:
        return None
    path = Path(results["img_path"])
    channels = channels or results.get("channel_map") or USUAL_CHANNELS
    return FieldSource(results.get("field_name") or field_name(path), path.name, {"": path}, channels)


def open_array(results: dict, channels: ChannelMap | None, transform: str) -> Field:
    """The field that is in ``results['img']`` as raw grey values, (H, W, C) or (C, H, W).

    Raises:
        ConfigError: there is no array, or it is no longer raw.
        ValueError: an array of another shape, or a channel given by name.
    """
    image = results.get("img")
    if image is None:
        raise ConfigError(f"{transform} needs results['img_path'], ['channel_paths'] or ['img']; all are missing")
    if "field_levels" in results or "scale_factor" in results:
        raise ConfigError(
            f"{transform}: results['img'] was stretched or resized already, and there is no path to read it again; put "
            f"{transform} first, or give img_path"
        )
    image = np.asarray(image)
    places = channels or results.get("channel_map") or USUAL_CHANNELS
    if any(isinstance(place, str) for place in places.values()):
        raise ValueError(f"{transform}: the channels of an array are given by place. Received: {dict(places)}")
    needed = max(places.values()) + 1
    if image.ndim != 3 or max(image.shape[0], image.shape[2]) < needed:
        raise ValueError(
            f"{transform}: results['img'] must be (H, W, C) or (C, H, W) with at least {needed} channels. Received "
            f"shape: {image.shape}"
        )
    # Channels are fewer than pixels; where that does not tell, they come last, as in MMDetection.
    planes = image if image.shape[0] >= needed and image.shape[0] < image.shape[2] else np.moveaxis(image, -1, 0)
    name = results.get("field_name", "array")
    return field_from_arrays({ours: planes[place] for ours, place in places.items()}, name, results.get("um_per_px"))


def window_of(results: Mapping, size_wh: tuple[int, int], transform: str) -> RegionXYXY:
    """The window in pixels of the field, ``results['region_xyxy']`` or all of it; it may reach beyond the field.

    Raises:
        ConfigError: no whole pixels, no area, or nothing of the field in it.
    """
    region = results.get("region_xyxy")
    if region is None:
        return 0, 0, *size_wh
    x0, y0, x1, y1 = (int(value) for value in region)
    sees_field = x0 < min(x1, size_wh[0]) and y0 < min(y1, size_wh[1]) and x1 > 0 and y1 > 0
    if not sees_field or (x0, y0, x1, y1) != tuple(region):
        raise ConfigError(
            f"{transform}: results['region_xyxy'] must be whole pixels with a part of the field of "
            f"{size_wh[0]} x {size_wh[1]} px. Received: {tuple(region)}"
        )
    return x0, y0, x1, y1
