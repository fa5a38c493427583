"""Small sets of single cells on disk."""

import numpy as np
import pytest
from mmengine.registry import DefaultScope

from ctc_mm.formats.cell_set import CellRow, CellSetWriter
from ctc_mm.registry import DATASETS


@pytest.fixture(scope="session")
def noise_image():
    """A grey image that no other seed gives."""

    def draw(seed, side=20, dtype=np.uint8, top=255):
        pixels = np.random.default_rng(seed).integers(0, top + 1, (side, side))
        pixels[0, 0] = top
        return pixels.astype(dtype)

    return draw


@pytest.fixture
def write_cells(tmp_path, noise_image):
    """Write a set of cells: (cell_id, label, channel) or more as a dict, each with an image of its own."""

    def write(cells, name="set", image=None):
        with CellSetWriter(tmp_path / name) as writer:
            for number, cell in enumerate(cells):
                fields = dict(zip(("cell_id", "label", "channel"), cell, strict=False)) if type(cell) is tuple else cell
                fields = {
                    "channel": "brightfield",
                    "group": "P1",
                    "source": "a.png",
                    "box_xyxy": (0, 0, 20, 20),
                } | fields
                pixels = noise_image(number) if image is None else image(number, fields)
                writer.add(CellRow(**fields), pixels)
        return tmp_path / name

    return write


@pytest.fixture
def build_cells():
    """Build a SingleCellDataset through the registry, in MMPretrain's scope."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield lambda root, **options: DATASETS.build(
            {"type": "ctc_mm.SingleCellDataset", "data_root": str(root), "pipeline": []} | options
        )
