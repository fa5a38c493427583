"""A field that is read on where files are damaged: what cannot be read is filled, and recorded by place and reason."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.field import Field, RegionXYXY

# What is lost is lost in blocks of a grid anchored at the field's origin, whatever regions it is read in.
BLOCK_PX = 256
FOUND_BEFORE = "found damaged before"


class DamageTolerantField(Field):
    """A field whose damaged parts are filled in the place of an error.

    A region that cannot be read is read again in blocks of 256 px; a block of which any channel cannot be read is lost.
    A block that is known to be lost is filled from then on, even where a part of it could be read. So the pixels do not
    depend on the regions once all blocks were read whole: read the first time in tiles whose sides are multiples of
    ``BLOCK_PX``, and give what was found to other processes (``mark_damaged``). Several threads may read at once.

    Args:
        field: what to read; it belongs to this one, which closes it.
        fill_value: grey value of what is lost, of all channels or of each by name.
        damaged_xyxy: blocks that are known to be lost; they are not tried.

    Attributes: those of ``Field``, and
        fill_value: as given; may be changed between reads, as by one who has seen the background.

    Raises:
        ValueError: ``fill_value`` is none of the field's dtype, or a block does not lie on the grid.
    """

    def __init__(
        self,
        field: Field,
        fill_value: float | Mapping[str, float] = 0,
        damaged_xyxy: Iterable[RegionXYXY] = (),
    ) -> None:
        super().__init__(field.name, field.paths, field.channel_sources, field.um_per_px, field.notes, field.gaps_xyxy)
        self.fill_value = fill_value
        self._damage: dict[RegionXYXY, str] = {}
        self._lock = threading.Lock()
        self.mark_damaged(damaged_xyxy)

    @property
    def fill_value(self) -> float | Mapping[str, float]:
        """Grey value of what is lost."""
        return self._fill_value

    @fill_value.setter
    def fill_value(self, value: float | Mapping[str, float]) -> None:
        values = value if isinstance(value, Mapping) else dict.fromkeys(self.channels, value)
        if not all(_fits(one, self.dtype) for one in values.values()):
            raise ValueError(f"`fill_value` must be a {self.dtype} value. Received: {value!r}")
        self._fill_value, self._fill_of = value, dict.fromkeys(self.channels, 0) | dict(values)

    @property
    def damaged_xyxy(self) -> tuple[RegionXYXY, ...]:
        """Blocks that were lost so far, by row and column; those at the right and lower edge end with the field."""
        return tuple(block for block, _ in self.damage)

    @property
    def damage(self) -> tuple[tuple[RegionXYXY, str], ...]:
        """Blocks that were lost so far and why, by row and column."""
        with self._lock:
            found = list(self._damage.items())
        return tuple(sorted(found, key=lambda item: (item[0][1], item[0][0])))

    def mark_damaged(self, blocks_xyxy: Iterable[RegionXYXY]) -> None:
        """Take blocks for lost that another process found so.

        Raises:
            ValueError: a block that does not lie on the grid.
        """
        for given in blocks_xyxy:
            block = tuple(int(value) for value in given)
            if not self._is_block(block):
                raise ValueError(
                    f"field {self.name!r} of {self.size_wh} px: a damaged block lies on the grid of {BLOCK_PX} px. "
                    f"Received: {tuple(given)}"
                )
            with self._lock:
                self._damage.setdefault(block, FOUND_BEFORE)

    def read(self, channels: Sequence[str] | None = None, region_xyxy: RegionXYXY | None = None) -> np.ndarray:
        """Read channels, whole or a region of them, as ``Field.read`` does; what cannot be read is ``fill_value``.

        Raises:
            ValueError: an unknown channel, a region that is empty or leaves the field, a closed field.
        """
        names, region = self._check_names(channels), self._check_region(region_xyxy)
        blocks = list(self._blocks_of(region))
        if not any(block in self._damage for block in blocks):
            try:
                return super().read(names, region)
            except ImageReadError:  # which part it was, and why, is found block by block
                return self._read_in_blocks(names, region, blocks)
        return self._read_in_blocks(names, region, blocks)

    def _read_in_blocks(self, names: Sequence[str], region: RegionXYXY, blocks: Sequence[RegionXYXY]) -> np.ndarray:
        x0, y0, x1, y1 = region
        filled = np.empty((len(names), y1 - y0, x1 - x0), self.dtype)
        filled[:] = np.array([self._fill_of[name] for name in names], self.dtype)[:, None, None]
        places = [self.channels.index(name) for name in names]
        for block in blocks:
            pixels = self._read_block(block)
            if pixels is None:
                continue
            left, top, right, bottom = block
            inner = slice(max(y0, top), min(y1, bottom)), slice(max(x0, left), min(x1, right))
            to_region = _moved(inner, -y0, -x0)
            to_block = _moved(inner, -top, -left)
            filled[:, *to_region] = pixels[places][:, *to_block]
        return filled

    def _read_block(self, block: RegionXYXY) -> np.ndarray | None:
        """All channels of a block, or None where it is lost: so the order in which channels are read does not count."""
        if block in self._damage:
            return None
        try:
            return super().read(None, block)
        except ImageReadError as error:
            with self._lock:
                self._damage.setdefault(block, str(error))
            return None

    def _blocks_of(self, region: RegionXYXY) -> Iterator[RegionXYXY]:
        x0, y0, x1, y1 = region
        width, height = self.size_wh
        for top in range(y0 // BLOCK_PX * BLOCK_PX, y1, BLOCK_PX):
            for left in range(x0 // BLOCK_PX * BLOCK_PX, x1, BLOCK_PX):
                yield left, top, min(left + BLOCK_PX, width), min(top + BLOCK_PX, height)

    def _is_block(self, block: tuple[int, ...]) -> bool:
        width, height = self.size_wh
        inside = len(block) == 4 and 0 <= block[0] < width and 0 <= block[1] < height
        return inside and next(self._blocks_of((*block[:2], block[0] + 1, block[1] + 1))) == block


def _moved(place: tuple[slice, slice], down: int, right: int) -> tuple[slice, slice]:
    rows, columns = place
    return slice(rows.start + down, rows.stop + down), slice(columns.start + right, columns.stop + right)


def _fits(value: float, dtype: np.dtype) -> bool:
    if dtype.kind == "f":
        return bool(np.isfinite(value))
    limits = np.iinfo(dtype)
    return limits.min <= value <= limits.max and value == int(value)
