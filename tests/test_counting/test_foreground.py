"""What is taken for empty holds no cell: phantoms, real smears, depths of pixels; noise and uneven light are empty."""

import numpy as np
import pytest

from ctc_mm.counting.foreground import SQUARE_PX, ContrastPass
from ctc_mm.imaging.io import read_image
from ctc_mm.phantoms import BrightfieldPhantomConfig, generate_field


def contrast_of(image, white_level=255.0):
    planes = np.moveaxis(image, -1, 0) if image.ndim == 3 else image[None]
    height, width = planes.shape[1:]
    seen = ContrastPass((width, height), len(planes))
    seen.add(planes, (0, 0, width, height))
    return seen.finish(white_level)


def whole(image):
    return [[0, 0, image.shape[1], image.shape[0]]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (33, 64), (300, 200, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_constant_image_is_empty(shape, dtype):
    image = np.full(shape, 77, dtype)
    found = contrast_of(image)
    assert found.contrast.shape == tuple(-(-side // SQUARE_PX) for side in shape[:2])
    assert found.holds_something(whole(image)).tolist() == [False]


@pytest.mark.parametrize("um_per_px", [0.3, 0.4, 0.6, 1.0])
@pytest.mark.parametrize("in_focus", [True, False])
def test_a_phantoms_cells_are_never_empty(um_per_px, in_focus):
    optics = {"focus_um": 0.0, "defocus_sd_um": 0.0} if in_focus else {}
    config = BrightfieldPhantomConfig(image_wh=(640, 640), um_per_px=um_per_px, wbc_count=(8, 8), **optics)
    for seed in range(2):
        field = generate_field(config, np.random.default_rng(seed), blank=False)
        assert contrast_of(field.image).holds_something(field.boxes_xyxy.astype(int)).all()


def test_a_field_of_noise_and_uneven_light_is_empty():
    config = BrightfieldPhantomConfig(image_wh=(1280, 1280), unevenness=0.4, debris_count=(0, 0))
    field = generate_field(config, np.random.default_rng(0), blank=True)
    found = contrast_of(field.image)
    assert not found.holds_something(whole(field.image)).any()
    assert 1.5 < found.noise[0] < 3.5


def test_one_faint_cell_is_found_in_its_windows_only():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    cell = (y - 100) ** 2 + (x - 300) ** 2 < 8**2
    image = np.clip(150 + rng.normal(0, 2, (512, 512)) - 5 * cell, 0, 255).astype(np.uint8)
    windows = [[0, 0, 256, 256], [256, 0, 512, 256], [0, 256, 256, 512], [280, 80, 320, 120], [320, 0, 512, 512]]
    assert contrast_of(image).holds_something(windows).tolist() == [False, True, False, True, False]


def test_a_slide_full_of_cells_has_no_empty_part(shared_data):
    paths = sorted((shared_data / "bccd" / "JPEGImages").glob("*.jpg"))[:12]
    assert len(paths) == 12
    for path in paths:
        image = read_image(path)
        windows = [[x, y, x + 160, y + 160] for y in range(0, 320, 160) for x in range(0, 480, 160)]
        assert contrast_of(image).holds_something(windows).all(), path.name


def test_depth_changes_nothing():
    config = BrightfieldPhantomConfig(image_wh=(256, 256), wbc_count=(3, 3))
    image = generate_field(config, np.random.default_rng(1), blank=False).image
    expected = contrast_of(image).contrast
    assert expected.max() > 20
    assert contrast_of(image.astype(np.uint16) * 257, 65535.0).contrast == pytest.approx(expected, rel=1e-3)
    assert contrast_of(image.astype(np.float32) / 255, 1.0).contrast == pytest.approx(expected, rel=1e-3)


def test_parts_may_be_read_in_any_order():
    image = generate_field(BrightfieldPhantomConfig(image_wh=(200, 160)), np.random.default_rng(2), blank=False).image
    parts = [(x, y, min(x + 64, 200), min(y + 64, 160)) for y in range(0, 160, 64) for x in range(0, 200, 64)]
    found = []
    for order in (parts, parts[::-1]):
        seen = ContrastPass((200, 160), 1)
        for x0, y0, x1, y1 in order:
            seen.add(image[None, y0:y1, x0:x1], (x0, y0, x1, y1))
        found.append(seen.finish(255.0))
    assert np.array_equal(found[0].contrast, found[1].contrast)
    assert found[0].noise == found[1].noise
