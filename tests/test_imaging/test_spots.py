import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spot_images import FWHM_PER_SIGMA, apart, draw_spots, scattered

from ctc_mm.evaluation.functional.points import match_points, score_points
from ctc_mm.imaging.spots import SPOT_HALO_PX, SpotLevels, find_spots, measure_spot_levels


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.zeros((1, 1), np.uint8), id="one pixel"),
        pytest.param(np.full((1, 1), 65535, np.uint16), id="one bright pixel"),
        pytest.param(np.zeros((3, 200), np.uint16), id="zero strip"),
        pytest.param(np.full((200, 300), 7, np.uint8), id="constant"),
        pytest.param(np.full((300, 300), 255, np.uint8), id="saturated"),
        pytest.param(np.full((70, 70), 0.1, np.float32), id="constant float"),
        pytest.param(np.add.outer(np.arange(200.0), 3 * np.arange(300.0)), id="slope"),
        pytest.param(np.tile(np.array([[0, 1], [1, 0]], np.uint8), (64, 64)), id="checkerboard"),
    ],
)
def test_nothing_is_found_where_nothing_is(image):
    spots = find_spots(image)
    assert spots.shape == (0, 3)
    assert spots.dtype == np.float32


@pytest.mark.parametrize(
    ("image", "error", "told"),
    [
        pytest.param(np.zeros((4, 4, 3)), ValueError, r"\(4, 4, 3\)", id="colour"),
        pytest.param(np.zeros((0, 5)), ValueError, r"\(0, 5\)", id="no pixel"),
        pytest.param(np.array([[1.0, np.nan]]), ValueError, "1 NaN", id="NaN"),
        pytest.param(np.array([[1.0, np.inf]]), ValueError, "infinite", id="infinite"),
        pytest.param(np.zeros((4, 4), complex), TypeError, "complex", id="complex"),
        pytest.param(np.zeros((4, 4), bool), TypeError, "bool", id="bool"),
    ],
)
def test_bad_images_are_refused(image, error, told):
    with pytest.raises(error, match=told):
        find_spots(image)


def test_diameter_and_place_have_to_fit_the_levels():
    image = np.zeros((64, 96), np.uint8)
    levels = measure_spot_levels(image)
    with pytest.raises(ValueError, match="measure_spot_levels"):
        find_spots(image, levels=levels, diameter_px=3)
    for origin_xy in ((1, 0), (0, 1), (-1, 0)):
        with pytest.raises(ValueError, match="leaves the field"):
            find_spots(image, levels=levels, origin_xy=origin_xy)
    for diameter_px in (0, 1.4, 8.6, float("nan")):
        with pytest.raises(ValueError, match="diameter_px"):
            find_spots(image, diameter_px=diameter_px)


@pytest.mark.parametrize("sigma_px", [0.9, 1.3, 2.0, 2.8, 3.4])
def test_centres_are_sub_pixel_and_snr_follows_the_peak(sigma_px):
    truth = scattered((300, 260), 12, 12 * sigma_px)
    peaks = np.linspace(60, 400, len(truth))
    spots = find_spots(draw_spots((300, 260), truth, peaks, sigma_px, noise=6))
    matches = match_points(spots[:, :2], truth, 3)
    assert len(spots) == len(truth) == matches.is_tp.sum()
    assert np.nanmax(matches.distance_px) < 0.3
    assert np.nanmean(matches.distance_px) < 0.1
    snr_over_peak = spots[:, 2] / peaks[matches.truth_index]
    assert snr_over_peak.std() < 0.12 * snr_over_peak.mean()
    assert (np.lexsort((spots[:, 1], spots[:, 0])) == np.arange(len(spots))).all()


def test_touching_spots_are_told_apart_down_to_sparrow():
    sigma_px, found = 1.3, {}
    for apart_px in (1.0, 2.6, 3.0, 3.6, 4.5, 6.0):
        middles = scattered((256, 256), 12, 30, margin_px=20)
        angles = np.linspace(0, np.pi, len(middles))
        half = apart_px / 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        truth = np.concatenate([middles - half, middles + half])
        spots = find_spots(draw_spots((256, 256), truth, 150, sigma_px, noise=6))
        found[apart_px] = len(spots)
        if apart_px >= 2.6:
            assert apart(spots[:, :2], truth).max() < 1
    assert found == {1.0: 12, 2.6: 24, 3.0: 24, 3.6: 24, 4.5: 24, 6.0: 24}


def test_one_spot_is_not_split_whatever_its_brightness_and_place():
    rng = np.random.default_rng(2)
    for peak in (40, 400, 4000, 40000):
        truth = scattered((256, 256), 30, 20, seed=int(rng.integers(1000)))
        assert len(find_spots(draw_spots((256, 256), truth, peak, 1.5, noise=6))) == 30


def test_saturated_spots_are_one_each():
    truth = scattered((256, 256), 15, 30)
    image = np.clip(draw_spots((256, 256), truth, 900, 1.8, background=40, noise=4), 0, 255).astype(np.uint8)
    spots = find_spots(image)
    assert len(spots) == 15
    assert apart(spots[:, :2], truth).max() < 0.5


def test_spots_on_the_border_are_found_and_lie_inside():
    truth = np.array([[0.0, 40], [199, 80.3], [100.4, 0], [60, 249], [0, 0], [199, 249]])
    spots = find_spots(draw_spots((250, 200), truth, 200, 1.5, noise=5))
    assert len(spots) == 6
    assert apart(spots[:, :2], truth).max() < 1
    assert (spots[:, :2] >= -0.5).all()
    assert (spots[:, :2] <= [199.5, 249.5]).all()


def test_blobs_too_large_are_no_spots_beside_spots():
    truth = scattered((300, 300), 8, 25, margin_px=100)
    image = draw_spots((300, 300), truth, 200, 1.5, noise=5)
    image += draw_spots((300, 300), [(50, 50), (250, 250), (60, 240)], 300, 12, background=0)
    image += draw_spots((300, 300), [(240, 60)], 300, 6, background=0)
    spots = find_spots(image)
    assert len(spots) == 8
    assert apart(spots[:, :2], truth).max() < 0.5


def test_a_given_diameter_rules_out_larger_spots():
    small, large = np.array([[40.0, 40], [90, 40]]), np.array([[60.0, 120], [150, 60]])
    image = draw_spots((200, 200), small, 200, 1.0, noise=4) + draw_spots((200, 200), large, 200, 3.2, background=0)
    assert len(find_spots(image)) == 4
    spots = find_spots(image, diameter_px=1.0 * FWHM_PER_SIGMA)
    assert len(spots) == 2
    assert apart(spots[:, :2], small).max() < 0.3


def test_hot_pixels_are_no_spots():
    rng = np.random.default_rng(0)
    truth = scattered((256, 256), 6, 25, margin_px=20)
    image = draw_spots((256, 256), truth, 100, 1.3, noise=5)
    places = scattered((256, 256), 25, 14, seed=3)
    places = places[apart(truth, places) > 10].astype(int)
    image[places[:, 0], places[:, 1]] += rng.uniform(50, 3000, len(places))
    spots = find_spots(image)
    assert len(spots) == 6
    assert apart(spots[:, :2], truth).max() < 0.5


def nuclei_image(seed, size=256, count=7):
    """Bright discs with soft edges under shot noise, as DAPI that bleeds through."""
    rng = np.random.default_rng(seed)
    light = np.full((size, size), 20.0, np.float32)
    for _ in range(count):
        centre = tuple(int(value) for value in rng.integers(0, size, 2))
        cv2.circle(light, centre, int(rng.integers(10, 30)), float(rng.uniform(40, 400)), -1)
    return rng.poisson(cv2.GaussianBlur(light, (0, 0), 2)).astype(np.uint16)


def test_edges_and_insides_of_nuclei_are_no_spots():
    counts = [len(find_spots(nuclei_image(seed))) for seed in range(20)]
    assert sum(counts) <= 3


def test_signals_inside_nuclei_are_counted_exactly():
    rng = np.random.default_rng(5)
    wrong = 0
    for seed in range(6):
        light = np.full((256, 256), 30.0, np.float32)
        truth = []
        for place in scattered((256, 256), 6, 55, seed=seed, margin_px=30):
            cv2.circle(light, tuple(int(value) for value in place[::-1]), 22, 120.0, -1)
            truth += [
                place + offset for offset in rng.permutation([[-8, 0], [7, 7], [5, -9], [9, 0]])[: rng.integers(1, 5)]
            ]
        image = cv2.GaussianBlur(light, (0, 0), 2) + draw_spots((256, 256), truth, 150, 1.6, background=0)
        wrong += abs(len(find_spots(rng.poisson(image).astype(np.uint16))) - len(truth))
    assert wrong <= 1


NOISE = {
    "gaussian": lambda rng, n: rng.normal(100, 7, (n, n)).astype(np.float32),
    "8-bit": lambda rng, n: rng.normal(60, 6, (n, n)).round().clip(0, 255).astype(np.uint8),
    "less than a grey step": lambda rng, n: rng.normal(20, 0.4, (n, n)).round().astype(np.uint8),
    "clipped at black": lambda rng, n: rng.normal(0, 3, (n, n)).round().clip(0, 255).astype(np.uint8),
    "poisson 100": lambda rng, n: rng.poisson(100, (n, n)).astype(np.uint16),
    "poisson 1": lambda rng, n: rng.poisson(1, (n, n)).astype(np.uint16),
    "poisson 0.1": lambda rng, n: rng.poisson(0.1, (n, n)).astype(np.uint8),
    "poisson on a slope": lambda rng, n: rng.poisson(50 + 300 * np.linspace(0, 1, n)[:, None] * np.ones(n)),
    "on a steep slope": lambda rng, n: rng.normal(9 * np.arange(n) + 4 * np.arange(n)[:, None], 7),
    "blurred": lambda rng, n: cv2.GaussianBlur(rng.normal(100, 50, (n, n)), (0, 0), 1),
}


@pytest.mark.parametrize("kind", NOISE)
def test_noise_alone_shows_no_spot_in_99_percent(kind):
    rng = np.random.default_rng(1)
    fields = [
        NOISE[kind](rng, size) for size, count in ((64, 40), (150, 30), (256, 30), (520, 4)) for _ in range(count)
    ]
    assert sum(len(find_spots(field)) > 0 for field in fields) <= 1


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6])
def test_spots_do_not_depend_on_the_unit_of_grey_values(scale):
    image = draw_spots((200, 180), scattered((200, 180), 25, 5), 90, 1.4, noise=6)
    expected, spots = find_spots(image), find_spots(image * scale)
    assert len(spots) == len(expected) >= 24
    np.testing.assert_allclose(spots, expected, atol=0.02, rtol=1e-3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_the_smallest_images_of_any_content_are_taken(height, width, seed, dtype):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width)).astype(dtype) * (rng.random((height, width)) < rng.random())
    spots = find_spots(image.astype(dtype))
    assert np.isfinite(spots).all()
    assert (spots[:, :2] >= -0.5).all()
    assert (spots[:, :2] <= np.array([height, width]) - 0.5).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_the_same_image_in_another_dtype_gives_the_same_spots(dtype):
    truth = scattered((256, 200), 40, 5)
    image = draw_spots((256, 200), truth, 90, 1.4, background=50, noise=6).round().clip(0, 255).astype(np.uint8)
    expected = find_spots(image)
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255, np.float64: 1 / 255}[dtype]
    spots = find_spots((image.astype(np.float64) * scale).astype(dtype))
    assert len(spots) == len(expected) >= 38
    np.testing.assert_allclose(spots[:, :2], expected[:, :2], atol=1 / 64)
    np.testing.assert_allclose(spots[:, 2], expected[:, 2], rtol=1e-3)


def test_the_image_is_not_changed():
    image = draw_spots((80, 80), [(40, 40)], 100, 1.4, noise=5).astype(np.float32)
    before = image.copy()
    find_spots(image)
    np.testing.assert_array_equal(image, before)


TURNS = {
    "left-right": (lambda image: image[:, ::-1], lambda y, x, h, w: (y, w - 1 - x)),
    "up-down": (lambda image: image[::-1], lambda y, x, h, w: (h - 1 - y, x)),
    "transposed": (lambda image: image.T, lambda y, x, h, w: (x, y)),
    "quarter turn": (lambda image: np.rot90(image), lambda y, x, h, w: (w - 1 - x, y)),
    "half turn": (lambda image: np.rot90(image, 2), lambda y, x, h, w: (h - 1 - y, w - 1 - x)),
}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(TURNS)),
    st.integers(0, 10**6),
    st.sampled_from([(128, 96), (256, 256), (161, 97)]),
    st.floats(0.9, 2.2),
    st.integers(0, 25),
)
def test_flips_and_turns_move_the_spots_along(turn, seed, size_wh, sigma_px, count):
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, np.array(size_wh[::-1]) - 1, (count, 2))
    image = draw_spots(size_wh, places, rng.uniform(60, 300, count), sigma_px, noise=6, seed=seed).astype(np.float32)
    image_of, place_of = TURNS[turn]
    # Statistics are taken on cells that begin at the origin: where the field does not end with a cell, a spot on the
    # threshold may change sides, and so may the choice between two sizes of spots, which is given here.
    diameter_px = None if size_wh == (256, 256) else 2.355 * sigma_px
    spots = find_spots(image, diameter_px=diameter_px)
    turned = find_spots(np.ascontiguousarray(image_of(image)), diameter_px=diameter_px)
    edge = measure_spot_levels(image, diameter_px).min_snr * 1.15
    clear = spots[spots[:, 2] > edge]
    moved = np.stack(place_of(clear[:, 0], clear[:, 1], *image.shape), axis=1)
    assert abs(len(turned) - len(spots)) <= (np.abs(spots[:, 2] / edge - 1) < 0.3).sum()
    if size_wh == (256, 256):
        assert len(turned) == len(spots)
    assert apart(turned[:, :2], moved).max(initial=0) < 0.1


def in_tiles(image, levels, tile_px):
    """Spots of a field found tile by tile, each kept by the tile that its centre lies in."""
    height, width = image.shape
    kept = []
    for y in range(0, height, tile_px):
        for x in range(0, width, tile_px):
            y0, x0 = (max(start - SPOT_HALO_PX, 0) // 64 * 64 for start in (y, x))
            part = image[y0 : y + tile_px + SPOT_HALO_PX, x0 : x + tile_px + SPOT_HALO_PX]
            spots = find_spots(part, levels=levels, origin_xy=(x0, y0)) + np.float32([y0, x0, 0])
            rows, columns = ((spots[:, axis] + 0.5) // tile_px for axis in (0, 1))
            mine = (rows.clip(0, (height - 1) // tile_px) == y // tile_px) & (
                columns.clip(0, (width - 1) // tile_px) == x // tile_px
            )
            kept.append(spots[mine])
    spots = np.concatenate(kept)
    return spots[np.lexsort((spots[:, 1], spots[:, 0]))]


@pytest.mark.parametrize("diameter_px", [None, 1.6, 8.5])
def test_tiles_give_the_rows_of_the_whole_field(diameter_px):
    rng = np.random.default_rng(7)
    size_wh, sigma_px = (1100, 700), (diameter_px or 3.5) / FWHM_PER_SIGMA
    places = rng.uniform(0, np.array(size_wh[::-1]) - 1, (2500 if sigma_px < 2 else 500, 2))
    light = draw_spots(size_wh, places, rng.uniform(30, 400, len(places)), sigma_px)
    image = rng.poisson(light).astype(np.uint16)
    levels = measure_spot_levels(image, diameter_px)
    whole = find_spots(image, levels=levels)
    assert len(whole) > 200
    for tile_px in (128, 256, 512, 1024):
        np.testing.assert_array_equal(in_tiles(image, levels, tile_px), whole)


def test_centres_far_from_the_origin_keep_their_fraction():
    image = draw_spots((64, 64), [(30.37, 30.61)], 300, 1.4, noise=3).astype(np.float32)
    (spot,) = find_spots(image)
    levels = SpotLevels(**{**measure_spot_levels(image).__dict__, "size_wh": (131072, 131072)})
    (moved,) = find_spots(image, levels=levels, origin_xy=(130944, 64000))
    whole = moved[:2] + np.float32([64000, 130944])
    np.testing.assert_array_equal(whole.astype(np.float64) - [64000, 130944], spot[:2].astype(np.float64))


def test_levels_travel_as_json():
    image = draw_spots((300, 280), scattered((300, 280), 20, 12), 200, 1.4, noise=5)
    levels = measure_spot_levels(image)
    again = SpotLevels.from_dict(json.loads(json.dumps(levels.to_dict())))
    assert again == levels
    np.testing.assert_array_equal(find_spots(image, levels=again), find_spots(image))


@pytest.mark.parametrize(("name", "f1"), [("dataset1", 0.98), ("dataset2", 0.98)])
def test_real_looking_spots_are_found(shared_data, name, f1):
    folder = shared_data / "spots_deepspot" / name
    matches = []
    for path in sorted((folder / "images").glob("*.png")):
        truth = np.loadtxt(folder / "spots_yx" / f"{path.stem}.csv", delimiter=",", skiprows=1, ndmin=2).reshape(-1, 2)
        spots = find_spots(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        matches.append(match_points(spots[:, :2], truth, 3))
    score = score_points(matches)
    assert score.n_images == 50
    assert score.f1 >= f1
    assert score.count_mae <= 2
