"""The learned method: empty images, sizes of nuclei, pixel types, tiles, threads, weights."""

import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuclei_drawings import draw_discs, grid_of_discs

from ctc_mm.errors import CheckpointError
from ctc_mm.evaluation.functional.instances import match_instances, summarise_instances
from ctc_mm.imaging import nuclei_net
from ctc_mm.imaging.io import read_image
from ctc_mm.imaging.nuclei_net_levels import NetLevels, measure_net_levels


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 1), np.uint8),
        np.full((1, 300), 9, np.uint16),
        np.full((70, 50), 0.25, np.float32),
        np.zeros((257, 640), np.uint16),
    ],
    ids=["one pixel", "one row", "constant float", "all zero"],
)
def test_constant_image_holds_no_nucleus(image):
    labels = nuclei_net.segment(image)
    assert labels.dtype == np.int32
    assert labels.shape == image.shape
    assert labels.max() == 0


@pytest.mark.parametrize("deviation", [0.4, 3.0, 30.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_noise_holds_no_nucleus(dtype, deviation):
    noise = 120 + np.random.default_rng(1).normal(size=(300, 300)) * deviation
    image = np.clip(np.rint(noise), 0, 255).astype(np.uint8) if dtype == np.uint8 else noise.astype(np.float32)
    assert nuclei_net.segment(image).max() == 0


@pytest.mark.parametrize("radius", [4, 7, 14, 28])
def test_nuclei_of_any_size_are_found(radius):
    shape = (256, 320)
    image, truth = draw_discs(shape, grid_of_discs(shape, 3 * radius + 4, radius))
    found = match_instances(nuclei_net.segment(image), truth)
    assert found.counts.f1 == 1.0
    assert found.n_truth == truth.max() >= 6


def test_touching_nuclei_are_parted_and_a_dim_one_beside_bright_ones_is_found():
    discs = [(60, 60, 14, 400), (86, 60, 14, 380), (60, 150, 10, 400), (78, 150, 10, 400), (150, 100, 14, 45)]
    image, truth = draw_discs((200, 200), discs)
    assert cv2.connectedComponents((truth > 0).astype(np.uint8), connectivity=4)[0] - 1 == 3  # two pairs touch
    found = match_instances(nuclei_net.segment(image), truth)
    assert (found.n_predicted, found.counts.tp) == (5, 5)


def test_nuclei_are_numbered_by_their_first_pixel():
    image, _ = draw_discs((200, 260), grid_of_discs((200, 260), 50, 12))
    labels = nuclei_net.segment(image)
    numbers, first = np.unique(labels[labels > 0], return_index=True)
    assert numbers.tolist() == list(range(1, len(numbers) + 1))
    assert np.all(np.diff(first) > 0)


@pytest.fixture(scope="module")
def eight_bit():
    image, _ = draw_discs((210, 330), grid_of_discs((210, 330), 37, 11, height=110.0), background=20.0)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "convert",
    [
        lambda image: image.astype(np.uint16) * 257,
        lambda image: image.astype(np.uint16) * 16 + 3,
        lambda image: image.astype(np.float32),
        lambda image: image.astype(np.float32) / np.float32(255),
        lambda image: image.astype(np.float64) / 255,
    ],
    ids=["x257", "x16 + 3", "float32", "float32 in 0-1", "float64 in 0-1"],
)
def test_pixel_type_and_scale_change_nothing(eight_bit, convert):
    expected = nuclei_net.segment(eight_bit)
    assert expected.max() == len(grid_of_discs((210, 330), 37, 11))
    np.testing.assert_array_equal(nuclei_net.segment(convert(eight_bit)), expected)


@pytest.mark.parametrize("step", [np.rot90, np.fliplr, np.transpose], ids=["rotated", "flipped", "transposed"])
def test_count_of_a_turned_image_is_the_same(eight_bit, step):
    assert nuclei_net.segment(np.ascontiguousarray(step(eight_bit))).max() == nuclei_net.segment(eight_bit).max()


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 10**6))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_labels_are_whole_whatever_the_image(height, width, seed):
    rng = np.random.default_rng(seed)
    image = (rng.random((height, width)) ** rng.uniform(1, 8) * 4000).astype(np.uint16)
    labels = nuclei_net.segment(image)
    assert labels.shape == image.shape
    for number in range(1, labels.max() + 1):
        assert cv2.connectedComponents((labels == number).astype(np.uint8))[0] == 2  # background and one piece


@pytest.fixture
def field(monkeypatch):
    """A field of many small windows, and its levels."""
    monkeypatch.setattr(nuclei_net, "MOST_CORE_PX", 128)
    image, _ = draw_discs((460, 590), grid_of_discs((460, 590), 41, 13))
    image = np.clip(np.rint(image), 0, 65535).astype(np.uint16)
    return image, measure_net_levels(image)


def test_tile_sees_what_the_field_sees(field):
    image, levels = field
    nucleus, depth = nuclei_net.run_network(image, levels)
    assert depth.min() > 0
    left, top = 192, 128
    of_tile = nuclei_net.run_network(image[top:, left:], levels, (left, top))
    seen = of_tile[1] > 0
    assert 0.3 < seen.mean() < 1
    for found, expected in zip(of_tile, (nucleus, depth), strict=True):
        np.testing.assert_array_equal(found[seen], expected[top:, left:][seen])
    assert not of_tile[0][~seen].any()


@pytest.mark.parametrize("tile_px", [128, 256])
def test_tiles_with_their_halo_give_the_nuclei_of_the_field(field, tile_px):
    image, levels = field
    expected = nuclei_net.segment(image)
    halo = nuclei_net.halo_px(levels, largest_nucleus_px=40)
    height, width = image.shape
    for y in range(0, height, tile_px):
        for x in range(0, width, tile_px):
            left, top = max(x - halo, 0) // 64 * 64, max(y - halo, 0) // 64 * 64
            read = np.s_[top : min(y + tile_px + halo, height), left : min(x + tile_px + halo, width)]
            labels = nuclei_net.segment(image[read], levels=levels, origin_xy=(left, top))
            own = np.s_[y - top : y - top + tile_px, x - left : x - left + tile_px]
            wanted = expected[y : y + tile_px, x : x + tile_px]
            found = labels[own]
            pairs = {(int(a), int(b)) for a, b in zip(wanted.ravel(), found.ravel(), strict=True)}
            # One to one: each nucleus of the field is one of the tile's, pixel by pixel.
            assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
            assert (0, 0) in pairs


def test_tile_outside_the_field_is_refused(field):
    image, levels = field
    with pytest.raises(ValueError, match=r"inside the field of 590 x 460 px.*590 x 460 px at x 64, y 0"):
        nuclei_net.segment(image, levels=levels, origin_xy=(64, 0))


def test_levels_may_travel_inside_those_of_the_robust_method(eight_bit):
    class Levels:
        network = measure_net_levels(eight_bit)

    np.testing.assert_array_equal(nuclei_net.segment(eight_bit, levels=Levels()), nuclei_net.segment(eight_bit))
    with pytest.raises(TypeError, match="NetLevels.*Received: dict"):
        nuclei_net.segment(eight_bit, levels={})


def test_number_of_threads_changes_nothing(field):
    image, levels = field
    before = cv2.getNumThreads()
    maps = []
    try:
        for threads in (1, 3):
            cv2.setNumThreads(threads)
            maps.append(nuclei_net.run_network(image, levels))
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(*maps)


def test_threads_do_not_mix_up_their_images(eight_bit):
    images = [eight_bit, eight_bit[:, ::-1].copy(), eight_bit[:90].copy()]
    expected = [nuclei_net.segment(image) for image in images]
    found = [None] * len(images)

    def work(place):
        found[place] = [nuclei_net.segment(images[place]) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results, wanted in zip(found, expected, strict=True):
        for result in results:
            np.testing.assert_array_equal(result, wanted)


def test_image_and_levels_are_not_changed(eight_bit):
    image, levels = eight_bit.copy(), measure_net_levels(eight_bit)
    nuclei_net.segment(image, levels=levels)
    np.testing.assert_array_equal(image, eight_bit)
    assert levels == measure_net_levels(eight_bit)


@pytest.mark.parametrize("content", [None, b"", b"no network"], ids=["missing", "empty", "nonsense"])
def test_bad_weights_are_named(tmp_path, eight_bit, content):
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken\.onnx.*train_nuclei\.py"):
        nuclei_net.segment(eight_bit, weights=path)


def test_shipped_weights_are_small():
    assert nuclei_net.WEIGHTS.stat().st_size < 2 * 2**20


def test_dim_heights_are_spread_and_bright_ones_cut():
    heights = np.array([[-0.1, 0.0, 0.01, 1.0, 3.0, 50.0]])
    seen = nuclei_net.network_input(heights)
    np.testing.assert_allclose(seen[0], [[-0.1, 0, 0.01, 1, 2, 2]], atol=1 / nuclei_net.STEPS)
    np.testing.assert_allclose(seen[1, 0, 1:4], [0, np.arcsinh(0.2) / np.arcsinh(20), 1], atol=0.01)
    assert seen[1, 0, 5] == seen[1].max() > seen[1, 0, 3]


def test_real_nuclei_are_found(shared_data):
    """Some of the images that the network was trained on: this guards the code, it does not measure the network."""
    for source, least_f1 in (("nuclei_bbbc039", 0.94), ("nuclei_dsb2018", 0.85)):
        paths = sorted((shared_data / source / "images").iterdir())[::16]
        matches = []
        for path in paths:
            image = read_image(path)
            image = image if image.ndim == 2 else image[..., 0]
            truth = read_image(shared_data / source / "labels" / f"{path.stem}.png")
            matches.append(match_instances(nuclei_net.segment(image), truth, ignore_truth_under_px=28))
        assert summarise_instances(matches).counts.f1 >= least_f1


def test_empty_levels_of_a_field_mean_no_nuclei():
    image = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    assert nuclei_net.segment(image, levels=NetLevels((64, 64), 0.0, 0.0)).max() == 0
