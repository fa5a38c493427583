"""Damaged slides are read on: what is lost is filled and recorded, whatever regions it was read in."""

import threading

import numpy as np
import pytest
from damaged_slides import noise, spoil_tile, write_tiled

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.damage import BLOCK_PX, FOUND_BEFORE, DamageTolerantField
from ctc_mm.imaging.io import field_from_arrays, open_field, write_image

IMAGE = noise(2, 700, 900)
# 128 px tiles, 8 a row: number 19 lies at x 384 to 512, y 256 to 384, in the block below.
SPOILED = 19
BLOCK = (256, 256, 512, 512)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "slide.tif"
    write_tiled(file, IMAGE)
    spoil_tile(file, SPOILED)
    return file


def read_in_tiles(field, tile_px, channels=None):
    width, height = field.size_wh
    out = np.zeros((len(channels or field.channels), height, width), field.dtype)
    for y in range(0, height, tile_px):
        for x in range(0, width, tile_px):
            x1, y1 = min(x + tile_px, width), min(y + tile_px, height)
            out[:, y:y1, x:x1] = field.read(channels, (x, y, x1, y1))
    return out


def expected(fill=0):
    image = IMAGE.copy()
    x0, y0, x1, y1 = BLOCK
    image[:, y0:y1, x0:x1] = fill
    return image


def test_a_sound_field_is_read_as_it_is():
    with DamageTolerantField(field_from_arrays({"a": IMAGE[0]}, "s", 0.5)) as field:
        np.testing.assert_array_equal(field.read()[0], IMAGE[0])
        assert (field.damaged_xyxy, field.damage) == ((), ())
        assert (field.name, field.size_wh, field.um_per_px, field.dtype) == ("s", (900, 700), 0.5, np.uint16)
    with pytest.raises(ValueError, match="is closed"):
        field.read()


@pytest.mark.parametrize("tile_px", [256, 512, 1024])
def test_a_corrupt_tile_costs_its_block_whatever_it_is_read_in(path, tile_px):
    with DamageTolerantField(open_field(path)) as field:
        np.testing.assert_array_equal(read_in_tiles(field, tile_px), expected())
        (found,) = field.damage
    assert found[0] == BLOCK
    assert found[1].startswith(f"{path}: channel 0, 1 of shape (700, 900) cannot be decoded in the region {BLOCK}")


def test_the_order_in_which_channels_are_read_does_not_count(path):
    with DamageTolerantField(open_field(path), fill_value=7) as field:
        for name in "10":
            read_in_tiles(field, 512, [name])
        again = np.concatenate([read_in_tiles(field, 512, [name]) for name in "01"])
    np.testing.assert_array_equal(again, expected(7))


def test_a_lost_block_is_filled_also_where_a_part_could_be_read(path):
    region = (260, 260, 300, 300)  # in the block, not in the tile
    with DamageTolerantField(open_field(path)) as field:
        np.testing.assert_array_equal(field.read(None, region), IMAGE[:, 260:300, 260:300])
        field.read()
        assert not field.read(None, region).any()
        mixed = field.read(["1"], (200, 300, 300, 310))
    np.testing.assert_array_equal(mixed[0, :, :56], IMAGE[1, 300:310, 200:256])
    assert not mixed[0, :, 56:].any()


def test_what_another_process_found_is_not_tried(path):
    with DamageTolerantField(open_field(path), damaged_xyxy=[list(BLOCK)]) as field:
        assert not field.read(None, (260, 260, 300, 300)).any()
        field.mark_damaged([(768, 512, 900, 700)])
        assert field.damage == ((BLOCK, FOUND_BEFORE), ((768, 512, 900, 700), FOUND_BEFORE))
        assert not field.read(None, (890, 690, 900, 700)).any()


@pytest.mark.parametrize(
    "block", [(0, 0, 100, 100), (768, 512, 1024, 768), (1024, 0, 1280, 256), (0, 0, 256), (-256, 0, 0, 256)]
)
def test_a_block_off_the_grid_is_refused(block):
    with pytest.raises(ValueError, match="a damaged block lies on the grid of 256 px. Received"):
        DamageTolerantField(field_from_arrays({"a": IMAGE[0]}), damaged_xyxy=[block])


@pytest.mark.parametrize(("dtype", "fill"), [(np.uint8, 256), (np.uint16, -1), (np.uint8, 0.5), (np.float32, np.nan)])
def test_a_fill_value_that_pixels_cannot_have_is_refused(dtype, fill):
    with pytest.raises(ValueError, match="`fill_value` must be a .* value. Received"):
        DamageTolerantField(field_from_arrays({"a": np.ones((4, 4), dtype)}), fill)


def test_wrong_requests_stay_errors(path):
    with DamageTolerantField(open_field(path)) as field:
        field.read()
        with pytest.raises(ValueError, match="has no channel"):
            field.read(["dapi"])
        with pytest.raises(ValueError, match="`region_xyxy` must be whole pixels"):
            field.read(None, (0, 0, 901, 10))


def test_pixels_that_are_not_finite_are_lost(tmp_path):
    image = np.ones((300, 1), np.float32)
    image[299] = np.inf
    write_image(tmp_path / "a.tif", image)
    with pytest.raises(ImageReadError), open_field(tmp_path / "a.tif") as field:
        field.read()
    with DamageTolerantField(open_field(tmp_path / "a.tif"), fill_value=-1) as field:
        pixels = field.read()[0]
        assert field.damaged_xyxy == ((0, BLOCK_PX, 1, 300),)
    assert set(pixels[:BLOCK_PX, 0]) == {1}
    assert set(pixels[BLOCK_PX:, 0]) == {-1}


def test_blocks_come_by_row_and_column_and_threads_agree(path):
    for tile in (3, 40):
        spoil_tile(path, tile, page=1)
    with DamageTolerantField(open_field(path)) as alone:
        image = read_in_tiles(alone, 512)
        blocks = alone.damaged_xyxy
    assert blocks == ((256, 0, 512, 256), BLOCK, (0, 512, 256, 700))
    with DamageTolerantField(open_field(path)) as field:
        results = []
        threads = [threading.Thread(target=lambda: results.append(read_in_tiles(field, 512))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert field.damaged_xyxy == blocks
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, image)


def test_each_channel_can_have_its_own_fill_value(path):
    with DamageTolerantField(open_field(path), {"1": 9}) as field:
        pixels = field.read(["1", "0"], BLOCK)
        assert (set(pixels[0].ravel()), set(pixels[1].ravel())) == ({9}, {0})
        field.fill_value = 4
        assert set(field.read(None, BLOCK).ravel()) == {4}
        with pytest.raises(ValueError, match="`fill_value` must be a uint16 value. Received"):
            field.fill_value = {"0": 70000}
