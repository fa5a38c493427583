"""Random changes of cell images: switched off, seeded, repeated, and as strong as asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms.utils import cache_random_params

from ctc_mm.imaging.augment import warp_image
from ctc_mm.registry import TRANSFORMS

NAMES = ("CellGeometry", "CellIllumination", "CellNoise")
ONLY = {
    "rotate": ("CellGeometry", dict(rotate_deg=180.0)),
    "shear": ("CellGeometry", dict(shear_deg=20.0, shear_prob=1.0)),
    "scale": ("CellGeometry", dict(scale_range=(0.8, 0.9), scale_prob=1.0)),
    "shift": ("CellGeometry", dict(shift_fraction=0.1, shift_prob=1.0)),
    "flip": ("CellGeometry", dict(flip_prob=1.0)),
    "mirror": ("CellGeometry", dict(mirror_prob=1.0)),
    "elastic": ("CellGeometry", dict(elastic_fraction=0.05, elastic_prob=1.0)),
    "uneven": ("CellIllumination", dict(uneven=0.5, uneven_prob=1.0)),
    "gain": ("CellIllumination", dict(gain_range=(0.5, 0.9), gain_prob=1.0)),
    "gamma": ("CellIllumination", dict(gamma_range=(1.2, 2.0), gamma_prob=1.0)),
    "defocus": ("CellNoise", dict(defocus_px=(1.0, 2.0), defocus_prob=1.0)),
    "photons": ("CellNoise", dict(photons_at_white=(100.0, 200.0), photon_prob=1.0)),
    "read": ("CellNoise", dict(read_noise_sd=(2.0, 4.0), read_prob=1.0)),
}
PARTS_OFF = {
    "CellGeometry": dict(
        rotate_deg=None, shear_deg=None, scale_range=None, shift_fraction=None, flip_prob=None, mirror_prob=None
    ),
    "CellIllumination": dict(uneven=None, gain_range=None, gamma_range=None),
    "CellNoise": dict(defocus_px=None, photons_at_white=None, read_noise_sd=None),
}
CHANCES_OFF = {
    "CellGeometry": dict(
        rotate_prob=0, shear_prob=0, scale_prob=0, shift_prob=0, flip_prob=0, mirror_prob=0, elastic_fraction=0.1,
        elastic_prob=0,
    ),
    "CellIllumination": dict(uneven_prob=0, gain_prob=0, gamma_prob=0),
    "CellNoise": dict(defocus_prob=0, photon_prob=0, read_prob=0),
}  # fmt: skip


def build(name, **options):
    return TRANSFORMS.build(dict(type=f"ctc_mm.{name}", **options))


def with_only(name, **options):
    """A transform with everything off but what is given."""
    return build(name, **PARTS_OFF[name] | options)


def only(part):
    name, options = ONLY[part]
    return with_only(name, **options)


def grey_image(shape=(34, 40), low=40, high=200):
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


def apply(transform, image, seed=0, **results):
    np.random.seed(seed)  # noqa: NPY002  # what MMEngine seeds
    return transform(dict(img=image.copy(), **results))


@pytest.mark.parametrize("off", [PARTS_OFF, CHANCES_OFF, dict.fromkeys(NAMES, {"prob": 0})], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_switched_off_nothing_changes(name, off):
    for shape in ((1, 1), (34, 40), (20, 20, 5)):
        image = grey_image(shape)
        np.testing.assert_array_equal(apply(build(name, **off[name]), image)["img"], image)


@pytest.mark.parametrize("part", ONLY)
def test_each_part_alone_changes_the_image_and_stays_in_range(part):
    for image in (grey_image(), grey_image(low=0, high=255), grey_image((30, 31, 4))):
        changed = apply(only(part), image)["img"]
        assert changed.dtype == np.float32
        assert changed.shape == image.shape
        assert np.abs(changed - image).max() > 1
        assert changed.min() >= 0
        assert changed.max() <= 255


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_one_image_and_another_seed_another(name):
    transform, image = build(name), grey_image((34, 34, 3))
    first = [apply(transform, image, seed)["img"] for seed in range(12)]
    again = [apply(build(name), image, seed)["img"] for seed in range(12)]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({one.tobytes() for one in first}) > 6


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_can_be_repeated_on_another_image(name):
    transform, image = build(name), grey_image()
    with cache_random_params(transform):
        first, second = (transform(dict(img=image.copy()))["img"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    third, fourth = (transform(dict(img=image.copy()))["img"] for _ in range(2))
    assert not np.array_equal(third, fourth)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    channels=st.sampled_from([None, 1, 2, 3, 6]),
    seed=st.integers(0, 2**31 - 1),
    grey=st.sampled_from([0, 117, 255]),
)
def test_any_shape_and_constant_images_work(name, height, width, channels, seed, grey):
    shape = (height, width) if channels is None else (height, width, channels)
    changed = apply(build(name, prob=1), np.full(shape, grey, np.float32), seed)["img"]
    assert changed.shape == shape
    assert changed.dtype == np.float32
    assert changed.flags.c_contiguous
    assert np.isfinite(changed).all()
    assert changed.min() >= 0
    assert changed.max() <= 255
    if name == "CellGeometry":
        np.testing.assert_allclose(changed, grey, atol=1e-2)


def test_8_bit_images_become_float32():
    image = np.arange(25, dtype=np.uint8).reshape(5, 5)
    changed = apply(only("mirror"), image)["img"]
    assert changed.dtype == np.float32
    np.testing.assert_array_equal(changed, image[:, ::-1])


def test_the_matrix_of_the_results_moves_the_image():
    transform = build("CellGeometry", flip_prob=1.0)
    image = grey_image((33, 33, 3))
    results = apply(transform, image)
    expected = np.clip(warp_image(image, results["homography_matrix"]), 0, 255)
    np.testing.assert_array_equal(results["img"], expected)
    earlier = np.array([[1, 0, 2], [0, 1, 3], [0, 0, 1]], float)
    joined = apply(transform, image, homography_matrix=earlier)["homography_matrix"]
    np.testing.assert_allclose(joined, results["homography_matrix"] @ earlier)


def test_rotations_take_any_angle_and_scales_and_shifts_their_range():
    def matrices(part):
        return [apply(only(part), grey_image((40, 60)), seed)["homography_matrix"] for seed in range(200)]

    angles = np.rad2deg([np.arctan2(-matrix[1, 0], matrix[0, 0]) for matrix in matrices("rotate")])
    assert np.histogram(angles, bins=6, range=(-180, 180))[0].min() > 15
    scales = [matrix[0, 0] for matrix in matrices("scale")]
    assert 0.8 <= min(scales) < 0.82
    assert 0.88 < max(scales) <= 0.9
    shifts = np.array([matrix[:2, 2] for matrix in matrices("shift")])
    assert np.abs(shifts[:, 0]).max() == pytest.approx(6, abs=0.3)
    assert np.abs(shifts[:, 1]).max() == pytest.approx(4, abs=0.3)
    leans = np.array([[matrix[0, 1], matrix[1, 0]] for matrix in matrices("shear")])
    assert (leans == 0).any(axis=1).all()  # along x or along y
    assert np.abs(leans).max(axis=0) == pytest.approx(np.tan(np.deg2rad(20)), rel=0.05)


def test_chances_are_kept():
    image = grey_image((6, 7))
    transform = with_only("CellGeometry", mirror_prob=0.25)
    mirrored = [not np.array_equal(apply(transform, image, seed)["img"], image) for seed in range(400)]
    assert np.mean(mirrored) == pytest.approx(0.25, abs=0.06)
    half = with_only("CellIllumination", gain_range=(0.5, 0.5), gain_prob=1, prob=0.5)
    changed = [not np.array_equal(apply(half, image, seed)["img"], image) for seed in range(400)]
    assert np.mean(changed) == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("kind", ["multiply", "add"])
def test_uneven_light_is_as_strong_as_asked_at_most(kind):
    transform = build(
        "CellIllumination", uneven=0.4, uneven_kind=kind, uneven_prob=1, gain_range=None, gamma_range=None
    )
    image = np.full((40, 40), 120, np.float32)
    unit = 120 if kind == "multiply" else 255
    lit = [apply(transform, image, seed)["img"] for seed in range(60)]
    spans = np.array([np.ptp(one) for one in lit]) / unit
    assert spans.max() <= 0.4 + 1e-5
    assert spans.max() > 0.36
    np.testing.assert_allclose([one.mean() for one in lit], 120, atol=0.1)
    right = [one[:, 30:].mean() > one[:, :10].mean() for one in lit]
    assert 0.25 < np.mean(right) < 0.75  # from any side
    # A dark place stays dark under a lamp, and not under stray light.
    image[10:20, 10:20] = 0
    dark = np.array([apply(transform, image, seed)["img"][10:20, 10:20].max() for seed in range(10)])
    assert (dark == 0).all() if kind == "multiply" else (dark > 0).any()


def test_gain_and_gamma_are_those_of_the_range():
    image = np.full((4, 4, 3), 100, np.float32)
    for factor in (0.5, 2.0):
        gain = build("CellIllumination", uneven=None, gain_range=(factor, factor), gain_prob=1, gamma_range=None)
        np.testing.assert_allclose(apply(gain, image)["img"], 100 * factor, rtol=1e-5)
        gamma = build("CellIllumination", uneven=None, gain_range=None, gamma_range=(factor, factor), gamma_prob=1)
        np.testing.assert_allclose(apply(gamma, image)["img"], 255 * (100 / 255) ** factor, rtol=1e-5)
    bright = build("CellIllumination", uneven=None, gain_range=(4, 4), gain_prob=1, gamma_prob=1)
    assert apply(bright, image)["img"].max() <= 255


@pytest.mark.parametrize("part", ["uneven", "gain", "gamma", "photons", "read", "defocus"])
def test_channels_share_what_is_drawn_or_draw_for_themselves(part):
    name, options = ONLY[part]
    copies = np.repeat(grey_image((24, 24, 1)), 3, axis=2)
    shared = apply(with_only(name, **options), copies)["img"]
    for index in (1, 2):
        np.testing.assert_array_equal(shared[..., index], shared[..., 0])
    own = apply(with_only(name, **options, per_channel=True), copies)["img"]
    assert not np.array_equal(own[..., 1], own[..., 0])
    assert not np.array_equal(own[..., 2], own[..., 1])


def test_noise_of_the_transform_has_the_statistics_asked_for():
    image = np.full((250, 250), 100, np.float32)
    photons = with_only("CellNoise", photons_at_white=(500, 500), photon_prob=1)
    assert apply(photons, image)["img"].var() == pytest.approx(100 * 255 / 500, rel=0.03)
    assert apply(photons, image / 2)["img"].var() == pytest.approx(50 * 255 / 500, rel=0.03)
    read = with_only("CellNoise", read_noise_sd=(3, 3), read_prob=1)
    assert apply(read, image)["img"].std() == pytest.approx(3, rel=0.03)
    assert apply(read, image)["img"].mean() == pytest.approx(100, abs=0.1)
    both = with_only("CellNoise", photons_at_white=(500, 500), photon_prob=1, read_noise_sd=(3, 3), read_prob=1)
    assert apply(both, image)["img"].var() == pytest.approx(51 + 9, rel=0.03)


def test_noise_does_not_touch_the_image_it_was_given():
    image = grey_image()
    for name in NAMES:
        results = dict(img=image)
        before = image.copy()
        np.random.seed(1)  # noqa: NPY002
        build(name)(results)
        np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("key", ["gt_bboxes", "gt_masks", "gt_seg_map"])
def test_boxes_and_masks_are_not_left_behind(key):
    with pytest.raises(ValueError, match=rf"cell\.png: CellGeometry moves .*{key}.*ShiftScaleFlip"):
        apply(build("CellGeometry"), grey_image(), img_path="cell.png", **{key: np.zeros((0, 4))})


@pytest.mark.parametrize("pixels", [300.0, -1.0, np.nan, np.uint16(900)])
@pytest.mark.parametrize("name", NAMES)
def test_pixels_on_another_scale_are_refused(name, pixels):
    dtype = np.uint16 if isinstance(pixels, np.uint16) else np.float32
    with pytest.raises(ValueError, match=rf"x\.tif: {name} needs pixels in 0-255"):
        apply(build(name), np.full((4, 4), pixels, dtype), img_path="x.tif")


WRONG = [
    ("CellGeometry", dict(prob=1.5), "prob must be from 0 to 1"),
    ("CellGeometry", dict(rotate_deg=-3), "rotate_deg must be from 0 .*received -3"),
    ("CellGeometry", dict(shear_deg=90), "shear_deg must be from 0 to under 90"),
    ("CellGeometry", dict(scale_range=(0, 1)), "scale_range must be two rising numbers above 0"),
    ("CellGeometry", dict(scale_range=(1.2, 1.0)), "two rising numbers"),
    ("CellGeometry", dict(scale_range=1.2), "two rising numbers"),
    ("CellGeometry", dict(shift_fraction=1), "shift_fraction must be from 0 to under 1"),
    ("CellGeometry", dict(mirror_prob="often"), "mirror_prob must be from 0 to 1"),
    ("CellGeometry", dict(elastic_smoothness=0), "elastic_smoothness must be"),
    ("CellGeometry", dict(interpolation="lanczos"), "one of cubic, linear, nearest; received 'lanczos'"),
    ("CellIllumination", dict(uneven=2.0), "uneven must be from 0 to under 2"),
    ("CellIllumination", dict(uneven_kind="divide"), "one of multiply, add; received 'divide'"),
    ("CellIllumination", dict(gamma_range=(0.0, 1.0)), "gamma_range must be two rising numbers above 0"),
    ("CellIllumination", dict(gain_range=(1.0, float("nan"))), "gain_range must be two rising numbers"),
    ("CellNoise", dict(photons_at_white=(0, 10)), "photons_at_white must be two rising numbers above 0"),
    ("CellNoise", dict(read_noise_sd=(-1, 10)), "read_noise_sd must be two rising numbers of at least 0"),
    ("CellNoise", dict(defocus_kind="lens"), "one of gaussian, disc; received 'lens'"),
    ("CellNoise", dict(read_prob=True), "read_prob must be from 0 to 1"),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG)
def test_wrong_parameters_are_named(name, options, message):
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        build(name, **options)


@pytest.mark.parametrize("name", NAMES)
def test_repr_gives_the_transform_back(name):
    transform = build(name, prob=0.5)
    text = repr(transform)
    assert text.startswith(f"{name}(")
    assert "prob=0.5" in text
    assert repr(eval(text, {name: type(transform)})) == text
