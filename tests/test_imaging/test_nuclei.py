import cv2
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nucleus_fields import draw_field

from ctc_mm.evaluation.functional.instances import match_instances, summarise_instances
from ctc_mm.imaging.io import read_image
from ctc_mm.imaging.nuclei import measure_nucleus_levels, segment_nuclei

METHODS = ["robust", "paper"]
quick = settings(max_examples=25, deadline=None, derandomize=True)


def check_labels(labels, shape):
    assert labels.dtype == np.int32
    assert labels.shape == shape
    numbers = np.unique(labels)
    assert np.array_equal(numbers[numbers > 0], np.arange(1, labels.max() + 1))
    flat = labels.ravel()
    firsts = [int(np.argmax(flat == number)) for number in range(1, labels.max() + 1)]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 5), (70, 300)])
def test_constant_image_has_no_nuclei(method, dtype, value, shape):
    labels = segment_nuclei(np.full(shape, value, dtype), method)
    check_labels(labels, shape)
    assert labels.max() == 0


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["normal", "poisson", "uniform", "correlated", "impulses"])
def test_noise_holds_no_nuclei(kind, seed):
    rng = np.random.default_rng(seed)
    shape = (300, 400)
    image = {
        "normal": lambda: rng.normal(1000, 50, shape),
        "poisson": lambda: rng.poisson(8, shape),
        "uniform": lambda: rng.integers(0, 255, shape),
        "correlated": lambda: 1000 + 500 * cv2.GaussianBlur(rng.normal(0, 1, shape), (0, 0), 0.7),
        "impulses": lambda: np.where(rng.random(shape) < 1e-3, 4000, 200) + rng.normal(0, 10, shape),
    }[kind]()
    assert segment_nuclei(np.clip(image, 0, None).astype(np.uint16)).max() == 0


@pytest.mark.parametrize("noise", [0.0, 1.0, 20.0])
def test_smooth_background_holds_no_nuclei(noise):
    y, x = np.mgrid[:600, :500] / 500
    rng = np.random.default_rng(0)
    for background in (x, x + y, np.exp(-((x - 0.5) ** 2 + (y - 0.6) ** 2) / 0.3), np.cos(3 * x) + y**2):
        image = 500 + 2000 * background + rng.normal(0, 1, x.shape) * noise
        assert segment_nuclei(np.clip(np.rint(image), 0, None).astype(np.uint16)).max() <= 1


@pytest.mark.parametrize("seed", range(3))
def test_uneven_field_of_dim_and_bright_nuclei(seed):
    image, truth = draw_field(seed=seed)
    matches = match_instances(segment_nuclei(image), truth, 0.5)
    assert matches.counts.f1 >= 0.98
    assert abs(matches.n_predicted - matches.n_truth) <= 1


@pytest.mark.parametrize("diameter", [8, 12, 20, 30, 45, 60])
def test_outline_at_every_size(diameter):
    truth = np.zeros((400, 400), np.int32)
    for number, (x, y) in enumerate([(90, 90), (280, 110), (110, 290), (300, 300)], start=1):
        cv2.circle(truth, (x, y), diameter // 2, number, -1)
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur((truth > 0) * 1500.0, (0, 0), 1.3) + 200 + rng.normal(0, 15, truth.shape)
    matches = match_instances(segment_nuclei(image.astype(np.uint16)), truth, 0.8)
    assert (matches.counts.tp, matches.counts.fp) == (4, 0)


@pytest.mark.parametrize("ratio", [1.0, 0.3])
@pytest.mark.parametrize("radius", [8, 20])
def test_touching_nuclei_are_parted(radius, ratio):
    truth = np.zeros((200, 200), np.int32)
    cv2.circle(truth, (99 - radius, 100), radius, 1, -1)
    cv2.circle(truth, (100 + radius, 100), radius, 2, -1)
    light = np.select([truth == 1, truth == 2], [3000.0, 3000.0 * ratio], 0.0)
    noise = np.random.default_rng(1).normal(0, 15, truth.shape)
    image = (cv2.GaussianBlur(light, (0, 0), 1.2) + 200 + noise).astype(np.uint16)
    assert match_instances(segment_nuclei(image), truth, 0.6).counts.tp == 2
    assert segment_nuclei(image).max() == 2


def test_one_textured_nucleus_stays_one():
    rng = np.random.default_rng(2)
    truth = np.zeros((160, 160), np.int32)
    cv2.ellipse(truth, (80, 80), (28, 20), 30, 0, 360, 1, -1)
    grain = 1 + 0.5 * cv2.GaussianBlur(rng.normal(0, 1, truth.shape), (0, 0), 3) * 3
    image = cv2.GaussianBlur((truth > 0) * 2000.0 * np.clip(grain, 0.5, 1.6), (0, 0), 1.2) + 200
    image = (image + rng.normal(0, 15, truth.shape)).astype(np.uint16)
    labels = segment_nuclei(image)
    assert labels.max() == 1
    assert match_instances(labels, truth, 0.8).counts.tp == 1


@pytest.mark.parametrize("method", METHODS)
def test_8_and_16_bit_and_float_give_the_same_cells(method):
    image, _ = draw_field(size_wh=(300, 260), n=25, seed=4, background=(200, 500))
    eight = (image.astype(np.float64) * 255 / image.max()).astype(np.uint8)
    expected = segment_nuclei(eight, method)
    assert expected.max() > 5
    for other in (eight.astype(np.uint16) * 257, eight.astype(np.float32), (eight / np.float32(255))):
        assert np.array_equal(segment_nuclei(other, method), expected)


def test_deep_image_is_not_cut_to_8_bits():
    image, truth = draw_field(size_wh=(300, 260), n=20, seed=5, background=(200, 240), dim=0.9)
    image[-6:, -6:] = 65535  # a speck that is brighter than all nuclei, by far
    assert match_instances(segment_nuclei(image), truth, 0.5).counts.tp >= len(np.unique(truth)) - 2


@quick
@given(st.integers(0, 10**6), st.sampled_from(["rot90", "rot180", "flip_x", "flip_y", "transpose"]))
def test_count_does_not_depend_on_the_view(seed, view):
    image, _ = draw_field(size_wh=(230, 201), n=16, seed=seed)
    turned = {
        "rot90": np.rot90,
        "rot180": lambda a: np.rot90(a, 2),
        "flip_x": lambda a: a[:, ::-1],
        "flip_y": lambda a: a[::-1],
        "transpose": np.transpose,
    }[view](image)
    assert segment_nuclei(np.ascontiguousarray(turned)).max() == segment_nuclei(image).max()


@pytest.mark.parametrize("method", METHODS)
def test_views_are_as_good_as_copies(method):
    image, _ = draw_field(size_wh=(200, 160), n=10, seed=3)
    view = np.repeat(image, 2, axis=1)[::-1, ::2]
    before = view.copy()
    assert np.array_equal(segment_nuclei(view, method), segment_nuclei(before, method))
    assert measure_nucleus_levels(view) == measure_nucleus_levels(before)
    assert np.array_equal(view, before)


@quick
@given(
    hnp.arrays(
        st.sampled_from([np.dtype(np.uint8), np.dtype(np.uint16)]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
    ),
    st.sampled_from(METHODS),
)
def test_any_image_gives_valid_labels(image, method):
    labels = segment_nuclei(image, method)
    check_labels(labels, image.shape)
    assert np.array_equal(labels, segment_nuclei(image.copy(), method))


@quick
@given(st.integers(0, 10**6), st.integers(0, 3))
def test_nuclei_at_the_border_are_kept(seed, side):
    rng = np.random.default_rng(seed)
    image = np.full((120, 120), 200.0)
    at = int(rng.integers(25, 95))
    place = [(at, 0), (at, 119), (0, at), (119, at)][side]
    truth = np.zeros((120, 120), np.int32)
    cv2.circle(truth, place, 12, 1, -1)
    image += cv2.GaussianBlur((truth > 0) * 2000.0, (0, 0), 1.2) + rng.normal(0, 10, truth.shape)
    matches = match_instances(segment_nuclei(image.astype(np.uint16)), truth, 0.7)
    assert (matches.counts.tp, matches.counts.fp) == (1, 0)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((0, 4), np.uint8), ValueError, "no pixels"),
        (np.zeros((4, 4, 3), np.uint8), ValueError, "one channel"),
        (np.zeros((4, 4), np.int64), TypeError, "int64"),
        (np.zeros((4, 4), bool), TypeError, "bool"),
        (np.array([[0.0, np.nan]], np.float32), ValueError, "1 NaN"),
    ],
)
def test_bad_image(image, error, message):
    with pytest.raises(error, match=message):
        segment_nuclei(image)
    with pytest.raises(error, match=message):
        measure_nucleus_levels(image)


def test_unknown_method():
    with pytest.raises(ValueError, match="robust, paper, learned.*'otsu'"):
        segment_nuclei(np.zeros((4, 4), np.uint8), "otsu")


@pytest.mark.parametrize(
    ("side", "boxes"),
    [
        # A closing of 21 px joins the two flanks of a small nucleus ...
        (16, [(67, 51, 26, 18)]),
        (24, [(63, 48, 34, 24)]),
        # ... and not those of a large one: its upper and lower edge have no horizontal gradient.
        (40, [(55, 43, 10, 34), (95, 43, 10, 34)]),
    ],
)
def test_paper_recipe_fills_minimum_area_rectangles(side, boxes):
    image = np.zeros((120, 160), np.uint8)
    image[60 - side // 2 : 60 + side // 2, 80 - side // 2 : 80 + side // 2] = 200
    labels = segment_nuclei(image, "paper")
    found = [cv2.boundingRect((labels == number).astype(np.uint8)) for number in range(1, labels.max() + 1)]
    assert found == boxes
    assert all((labels[y : y + h, x : x + w] > 0).all() for x, y, w, h in found)


def test_real_fields_of_whole_blocks_have_the_same_count_in_every_view(shared_data):
    files = sorted((shared_data / "nuclei_dsb2018" / "images").iterdir())
    images = [image for image in map(read_image, files) if image.shape == (256, 256)][:20]
    assert len(images) == 20
    for image in images:
        count = segment_nuclei(image).max()
        assert [segment_nuclei(view).max() for view in (np.rot90(image), image[:, ::-1], image[::-1])] == [count] * 3


@pytest.mark.parametrize(
    ("folder", "least_f1", "most_count_error"), [("nuclei_bbbc039", 0.955, 0.03), ("nuclei_dsb2018", 0.87, 0.08)]
)
def test_real_nuclei(shared_data, folder, least_f1, most_count_error):
    matches = []
    for file in sorted((shared_data / folder / "images").iterdir()):
        truth = read_image(shared_data / folder / "labels" / f"{file.stem}.png").astype(np.int32)
        matches.append(match_instances(segment_nuclei(read_image(file)), truth, 0.5, 28))
    summary = summarise_instances(matches)
    assert summary.counts.f1 >= least_f1
    assert summary.count_error <= most_count_error
