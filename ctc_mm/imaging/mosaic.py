"""A mosaic: fields of a microscope placed by a ``positions.csv``, read as one image.

Nothing is stitched: each field lies at its position rounded to a whole pixel, over those of the lines before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.formats.paths import IMAGE_SUFFIXES, files_under
from ctc_mm.imaging.field import RegionXYXY
from ctc_mm.imaging.leases import Leases
from ctc_mm.imaging.mosaic_fields import Layer, OpenField, PlacedField, make_layers, place_fields
from ctc_mm.imaging.mosaic_positions import read_positions
from ctc_mm.imaging.rectangles import uncovered_xyxy
from ctc_mm.imaging.slide_folders import POSITIONS_FILE

# Fields that are kept open, and memory of those that are decoded whole (PNG, JPEG).
MOST_OPEN, MOST_DECODED_BYTES = 64, 2**28
_SHOWN = 3


class MosaicChannels:
    """The channels of a mosaic folder; fields are decoded when a region needs them, a few are kept.

    Several threads may read at once.

    Args:
        path: folder with ``positions.csv`` (``read_positions``) and the fields it names: files with all channels, or,
            with a column ``channel``, one file a channel. They may differ in size, not in channels or pixel type.
        um_per_px: side of a pixel in micrometres; None: from the table, or the first field that says it.
        z_projection: for the fields, as in ``open_field``.

    Attributes:
        names: name of each channel, or None.
        size_wh: width and height in pixels, from the leftmost and topmost field's edge to the opposite one.
        dtype: uint8, uint16 or float32.
        um_per_px_xy: width and height of a pixel, or None.
        notes: remarks a user should see.
        paths: ``positions.csv`` and the fields.
        gaps_xyxy: where some channel has no field; read as the median of the channel's first readable field.

    Raises:
        ImageReadError: a table that cannot be used, missing or unreadable fields, positions in um without a pixel size.
    """

    def __init__(self, path: Path, um_per_px: float | None = None, z_projection: str | None = None) -> None:
        self.path = path
        positions = read_positions(path)
        placed, scale = place_fields(positions, um_per_px, z_projection)
        self.um_per_px_xy = None if scale is None else (scale, scale)
        self.size_wh = (max(field.box_xyxy[2] for field in placed), max(field.box_xyxy[3] for field in placed))
        self.paths = (path / POSITIONS_FILE, *(field.path for field in placed))
        layers = make_layers(placed, z_projection)
        self._places = [(layer, index) for layer in layers for index in range(len(layer.names))]
        self.names = tuple(layer.channel or layer.names[index] for layer, index in self._places)
        self.dtype = np.result_type(*[layer.dtype for layer in layers])
        self._leases = Leases[tuple[Layer, PlacedField], OpenField](
            lambda key: OpenField(key[1], key[0], z_projection),
            MOST_OPEN,
            lambda opened: opened.decoded_bytes,
            MOST_DECODED_BYTES,
        )
        holes = [gap for layer in layers for gap in uncovered_xyxy(self.size_wh, layer.boxes_xyxy)]
        # Twice around: places that one channel lacks, or another, without overlap.
        self.gaps_xyxy = uncovered_xyxy(self.size_wh, uncovered_xyxy(self.size_wh, holes))
        self._fill = [self._background(layer, index) if holes else 0 for layer, index in self._places]
        self.notes = self._remarks(len(placed), positions.unused_columns)

    def read(self, indices: Sequence[int], region_xyxy: RegionXYXY) -> list[np.ndarray]:
        """Read a region of some channels: a plane (h, w) in ``dtype`` for each.

        Raises:
            ImageReadError: a field that cannot be read, or is not like the others.
        """
        x0, y0, x1, y1 = region_xyxy
        planes = [np.full((y1 - y0, x1 - x0), self._fill[index], self.dtype) for index in indices]
        for layer in dict.fromkeys(self._places[index][0] for index in indices):
            wanted = [place for place, index in enumerate(indices) if self._places[index][0] is layer]
            in_file = [self._places[indices[place]][1] for place in wanted]
            boxes = layer.boxes_xyxy
            touched = (boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0)
            for number in np.flatnonzero(touched):
                field = layer.fields[number]
                left, top, right, bottom = field.box_xyxy
                inner = max(left, x0), max(top, y0), min(right, x1), min(bottom, y1)
                pixels = self._read_field(layer, field, in_file, inner)
                rows, columns = slice(inner[1] - y0, inner[3] - y0), slice(inner[0] - x0, inner[2] - x0)
                for place, plane in zip(wanted, pixels, strict=True):
                    planes[place][rows, columns] = plane
        return planes

    def close(self) -> None:
        """Close the fields that are open."""
        self._leases.close()

    def _read_field(
        self, layer: Layer, field: PlacedField, in_file: Sequence[int], region_xyxy: RegionXYXY
    ) -> Sequence[np.ndarray]:
        """Read the part of a field that lies in a region of the mosaic."""
        left, top = field.box_xyxy[:2]
        x0, y0, x1, y1 = region_xyxy
        with self._leases.use((layer, field)) as opened:
            planes = opened.source.read(in_file, (x0 - left, y0 - top, x1 - left, y1 - top))
            return [np.array(plane) for plane in planes]  # the field may be closed before they are used

    def _background(self, layer: Layer, index: int) -> float:
        """Median of a channel in its first field that can be read; a value that the channel holds."""
        for field in layer.fields:
            try:
                (plane,) = self._read_field(layer, field, [index], field.box_xyxy)
            except ImageReadError:  # it is told of when its place is read
                continue
            values = plane[np.isfinite(plane)]
            if values.size:
                return np.partition(values, values.size // 2)[values.size // 2]
        return 0

    def _remarks(self, fields: int, unused_columns: Sequence[str]) -> tuple[str, ...]:
        width, height = self.size_wh
        remarks = [f"{self.path}: a mosaic of {fields} files at whole pixels, later ones over those before"]
        if self.gaps_xyxy:
            share = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in self.gaps_xyxy) / (width * height)
            remarks.append(f"{self.path}: {share:.1%} of the mosaic lies between its fields, read as background")
        placed = set(self.paths)
        stray = [path.name for path in files_under(self.path, IMAGE_SUFFIXES) if path not in placed]
        if stray:
            shown = ", ".join(stray[:_SHOWN]) + (", ..." if len(stray) > _SHOWN else "")
            remarks.append(f"{self.path}: {len(stray)} images have no line in {POSITIONS_FILE}, not read: {shown}")
        if unused_columns:
            remarks.append(f"{self.path}: columns of {POSITIONS_FILE} that are not used: {', '.join(unused_columns)}")
        return tuple(remarks)
