import numpy as np
import pytest
from spot_images import draw_spots, scattered

from ctc_mm.imaging.spots import SpotLevels, SpotLevelsPass, find_spots, measure_spot_levels


def field_image(size_wh=(900, 700), seed=0):
    light = draw_spots(size_wh, scattered(size_wh, 150, 12, seed), 120, 1.4)
    return np.random.default_rng(seed).poisson(light).astype(np.uint16)


def tiles(size_wh, tile_wh):
    return [(x, y) for y in range(0, size_wh[1], tile_wh[1]) for x in range(0, size_wh[0], tile_wh[0])]


@pytest.mark.parametrize("tile_wh", [(256, 256), (512, 768), (1024, 256), (900, 700)])
def test_levels_depend_neither_on_tiles_nor_on_their_order(tile_wh):
    image = field_image()
    expected = measure_spot_levels(image)
    for order in (1, -1):
        levels = SpotLevelsPass((900, 700), image.dtype)
        for x, y in tiles((900, 700), tile_wh)[::order]:
            levels.add(image[y : y + tile_wh[1], x : x + tile_wh[0]], (x, y))
        assert levels.result() == expected


@pytest.mark.parametrize(
    ("tile", "origin_xy", "told"),
    [
        pytest.param((256, 256), (10, 0), r"multiples of 256.*\(10, 0\)", id="not on the grid"),
        pytest.param((256, 200), (0, 0), "multiples of 256", id="ends inside"),
        pytest.param((256, 512), (256, 0), "field of", id="leaves the field"),
        pytest.param((256, 256), (-256, 0), "multiples of 256", id="before the field"),
    ],
)
def test_misplaced_tiles_are_refused(tile, origin_xy, told):
    levels = SpotLevelsPass((600, 300), np.uint8)
    with pytest.raises(ValueError, match=told):
        levels.add(np.zeros(tile, np.uint8), origin_xy)


def test_each_tile_comes_once_and_none_is_missing():
    levels = SpotLevelsPass((600, 300), np.uint8)
    levels.add(np.zeros((256, 512), np.uint8), (0, 0))
    with pytest.raises(ValueError, match="x 256, y 0 was added before"):
        levels.add(np.zeros((256, 256), np.uint8), (256, 0))
    with pytest.raises(ValueError, match="4 of the field's 6 blocks"):
        levels.result()


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        pytest.param(((0, 5), np.uint8), ValueError, "size_wh", id="no size"),
        pytest.param(((5, 5), bool), TypeError, "bool", id="bool"),
        pytest.param(((5, 5), np.uint8, 20.0), ValueError, "diameter_px.*20", id="too large"),
    ],
)
def test_bad_fields_are_named(arguments, error, told):
    with pytest.raises(error, match=told):
        SpotLevelsPass(*arguments)


@pytest.mark.parametrize("noise", [2.0, 9.0])
@pytest.mark.parametrize("count", [0, 40])
def test_noise_is_measured_with_and_without_spots(noise, count):
    image = draw_spots((512, 512), scattered((512, 512), count, 20) if count else [], 300, 1.3, noise=noise)
    levels = measure_spot_levels(image)
    assert levels.noise_variance == pytest.approx(noise**2, rel=0.12)
    assert levels.noise_gain == 0


def test_shot_noise_grows_with_the_background():
    rows = np.linspace(20, 600, 512)[:, None] * np.ones(512)
    levels = measure_spot_levels(np.random.default_rng(0).poisson(rows))
    background = np.array([50.0, 300.0, 580.0])
    np.testing.assert_allclose(levels.noise_at(background) ** 2, background, rtol=0.2)


def test_rounding_to_grey_steps_is_noise():
    rng = np.random.default_rng(0)
    image = (rng.random((256, 256)) < 0.001).astype(np.uint8) * 3 + np.uint8(20)
    for scale in (1, 257):
        levels = measure_spot_levels(image.astype(np.uint16) * scale)
        assert levels.noise_variance >= (3 * scale) ** 2 / 12
        assert len(find_spots(image.astype(np.uint16) * scale)) == 0


def test_the_threshold_rises_with_the_field_and_falls_with_many_spots():
    rng = np.random.default_rng(0)
    small, large = (measure_spot_levels(rng.normal(100, 5, (side, side))) for side in (128, 1024))
    assert 4.5 < small.min_snr < large.min_snr < 6.5
    crowd = measure_spot_levels(draw_spots((256, 256), scattered((256, 256), 80, 9), 60, 1.2, noise=6))
    assert crowd.min_snr < 4.7


def test_the_size_of_the_spots_is_found():
    found = [
        measure_spot_levels(draw_spots((300, 300), scattered((300, 300), 15, 30), 90, sigma_px, noise=8)).diameter_px
        for sigma_px in (1.0, 1.8, 2.8)
    ]
    assert found == sorted(found)
    assert found[0] < 3 < found[-1]
    assert measure_spot_levels(np.zeros((50, 50)), 5.5).diameter_px == 5.5


def test_levels_are_checked_for_json():
    levels = measure_spot_levels(np.zeros((3, 4), np.uint8))
    assert levels.to_dict()["size_wh"] == [4, 3]
    assert SpotLevels.from_dict(levels.to_dict()) == levels
    with pytest.raises(TypeError):
        SpotLevels.from_dict({**levels.to_dict(), "unknown": 1})
