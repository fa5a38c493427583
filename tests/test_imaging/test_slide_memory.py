"""Reading a tile of a large slide takes the memory of the tile, whatever kind of slide it is."""

import tracemalloc

import numpy as np
import pytest
import zarr

from ctc_mm.imaging.damage import DamageTolerantField
from ctc_mm.imaging.io import open_field, write_image, write_ome_tiff
from ctc_mm.imaging.resample import resampled_field

SIDE = 3000
FIELD = 250


def write_zarr(folder):
    array = zarr.create_array(str(folder / "s.zarr"), shape=(SIDE, SIDE), chunks=(200, 200), dtype="uint16")
    array[:] = 7
    return folder / "s.zarr"


def write_mosaic(folder):
    write_image(folder / "f.tif", np.full((FIELD, FIELD), 7, np.uint16))
    data = (folder / "f.tif").read_bytes()
    lines = ["file,x_px,y_px"]
    for y in range(0, SIDE, FIELD):
        for x in range(0, SIDE, FIELD):
            (folder / f"{x}_{y}.tif").write_bytes(data)
            lines.append(f"{x}_{y}.tif,{x},{y}")
    (folder / "positions.csv").write_text("\n".join(lines))
    return folder


def write_tiff(folder):
    image = np.full((1, SIDE, SIDE), 7, np.uint16)
    write_ome_tiff(folder / "s.tif", image, ["a"], compression="deflate", tile_px=256)
    return folder / "s.tif"


@pytest.mark.parametrize("write", [write_zarr, write_mosaic, write_tiff])
def test_a_tile_takes_the_memory_of_a_tile(tmp_path, write):
    path = write(tmp_path)
    with open_field(path, um_per_px=0.5) as warm:  # what is imported and cached once is none of it
        warm.read(None, (0, 0, 10, 10))
    with DamageTolerantField(resampled_field(open_field(path, um_per_px=0.5), 1.0)) as field:
        assert field.size_wh == (SIDE // 2, SIDE // 2)
        tracemalloc.start()
        for x, y in ((100, 100), (900, 500), (600, 1200)):
            assert set(field.read(None, (x, y, x + 128, y + 128)).ravel()) == {7}
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # 128 px of the new size are 264 px of the old: in double precision, with the chunks that they touch.
    assert most_bytes < SIDE * SIDE * 2 / 4
