import numpy as np
import pytest

from ctc_mm.errors import ImageReadError
from ctc_mm.formats.images import ImageFacts, common_white_level, image_facts
from ctc_mm.imaging.io import write_image


def _facts(maximum, dtype="uint16"):
    return ImageFacts((1, 1), dtype, maximum)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([], None),
        ([_facts(255, "uint8")], None),
        ([_facts(255, "uint8"), _facts(90)], 255),
        ([_facts(256)], 1023),
        ([_facts(100), _facts(4095)], 4095),
        ([_facts(4096)], 16383),
        ([_facts(65535)], 65535),
        ([_facts(0.9, "float32")], 1),
        ([_facts(0.9, "float32"), _facts(300, "float32")], 1023),
    ],
)
def test_one_white_level_holds_all_deep_images(facts, expected):
    assert common_white_level(facts) == expected


def test_pixels_beyond_16_bit_have_no_white_level():
    with pytest.raises(ValueError, match="at most 65535. Received: 70000"):
        common_white_level([_facts(70000.0, "float32")])


def test_facts_of_a_file(tmp_path):
    image = np.zeros((3, 5), np.uint16)
    image[1, 4] = 4000
    write_image(tmp_path / "a.tif", image)
    assert image_facts(tmp_path / "a.tif") == ImageFacts((5, 3), "uint16", 4000.0)


def test_a_truncated_image_is_found(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ImageReadError, match="a.png"):
        image_facts(path)


def test_pixels_that_are_no_numbers_are_found(tmp_path):
    write_image(tmp_path / "a.tif", np.full((2, 2), np.nan, np.float32))
    with pytest.raises(ImageReadError, match="a.tif: holds pixels that are not finite"):
        image_facts(tmp_path / "a.tif")
