"""Grey scale of the nucleus network: constant fields, blocks in any order, sparse fields, pixel types, JSON."""

import json

import numpy as np
import pytest
from nuclei_drawings import draw_discs, grid_of_discs

from ctc_mm.imaging.nuclei_net_levels import (
    LEAST_CONTRAST_SIGMA,
    NetBlock,
    NetLevels,
    combine_net_blocks,
    measure_net_block,
    measure_net_levels,
)


def test_no_block_is_refused():
    with pytest.raises(ValueError, match="at least one block"):
        combine_net_blocks([], (1, 1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (300, 40)])
def test_constant_field_has_no_contrast(shape):
    assert measure_net_levels(np.full(shape, 17, np.uint8)) == NetLevels(shape[::-1], 17.0, 0.0)


def test_background_and_contrast_are_those_of_the_drawing():
    image, _ = draw_discs((256, 256), grid_of_discs((256, 256), 50, 12, height=300.0), background=100.0, noise=1.0)
    levels = measure_net_levels(image)
    assert levels.size_wh == (256, 256)
    assert levels.background == pytest.approx(100, abs=3)
    assert levels.contrast == pytest.approx(300, abs=6)


def test_noise_alone_is_not_stretched():
    noise = np.random.default_rng(0).normal(50, 2.0, (512, 512)).astype(np.float32)
    assert measure_net_levels(noise).contrast == pytest.approx(LEAST_CONTRAST_SIGMA * 2.0, rel=0.05)


def test_empty_parts_and_a_bright_speck_do_not_decide_the_contrast():
    image, _ = draw_discs((2048, 2048), [], background=100.0, noise=1.0)
    crowd, _ = draw_discs((512, 512), grid_of_discs((512, 512), 50, 12, height=300.0), background=100.0, noise=1.0)
    image[512:1024, 1024:1536] = crowd
    image[1800:1830, 1800:1830] = 60000
    levels = measure_net_levels(image)
    assert levels.background == pytest.approx(100, abs=3)
    assert 200 < levels.contrast < 320


def test_order_of_blocks_changes_nothing():
    rng = np.random.default_rng(0)
    blocks = [measure_net_block(rng.gamma(2, 20 + 10 * k, (256, 256)).astype(np.uint16)) for k in range(7)]
    levels = combine_net_blocks(blocks, (1792, 256))
    assert combine_net_blocks(blocks[::-1], (1792, 256)) == levels
    assert levels.contrast > 0


def test_levels_follow_the_scale_of_the_pixels():
    image = np.random.default_rng(0).gamma(2, 20, (300, 300)).clip(0, 255).astype(np.uint8)
    levels = measure_net_levels(image)
    wide = measure_net_levels(image.astype(np.uint16) * 257)
    assert wide.background == 257 * levels.background
    assert wide.contrast == pytest.approx(257 * levels.contrast, rel=1e-12)


def test_steps_down_do_not_wrap_around():
    """Differences of unsigned integers: 200 after 100, and 100 after 200, are 100 both."""
    block = np.tile(np.array([100, 100, 200, 200], np.uint8), (8, 8))
    assert measure_net_block(block) == measure_net_block(block.astype(np.float64))
    assert measure_net_block(block).noise == pytest.approx(61.47)


def test_levels_go_through_json():
    levels = measure_net_levels(np.random.default_rng(0).normal(50, 2.0, (30, 40)))
    assert NetLevels.from_dict(json.loads(json.dumps(levels.to_dict()))) == levels


def test_block_of_one_pixel_has_no_noise():
    assert measure_net_block(np.array([[5]], np.uint16)) == NetBlock(5.0, 5.0, 0.0)
