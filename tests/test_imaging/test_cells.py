"""Bright-field cells: found alone and touching, whatever the light, the bit depth and the tile."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.evaluation.functional.instances import match_instances
from ctc_mm.imaging.cells import (
    CellLevels,
    CellLevelsPass,
    cell_halo_px,
    cell_size,
    measure_cell_levels,
    measure_cells,
    segment_cells,
)
from ctc_mm.phantoms import BrightfieldPhantomConfig, generate_field

cv2.setNumThreads(1)
ORDINARY = BrightfieldPhantomConfig(image_wh=(512, 512))
DENSE = replace(ORDINARY, ctc_count=(8, 12), wbc_count=(25, 40), touching_fraction=0.6)


def fields(config, count, blank=False):
    return [generate_field(config, np.random.default_rng([11, index]), blank=blank) for index in range(count)]


def f1_of(images, labels):
    matches = [match_instances(found, field.instances, 0.5) for field, found in zip(images, labels, strict=True)]
    hits = sum(len(match.pairs) for match in matches)
    return 2 * hits / sum(match.n_predicted + match.n_truth for match in matches)


def discs(places, size=200, radius=9, background=180, inside=140, edge=1.0):
    """Dark discs on an even background."""
    image = np.full((size, size), float(background))
    for y, x in places:
        cv2.circle(image, (x, y), radius, float(inside), -1)
    return cv2.GaussianBlur(image, (0, 0), edge).round().astype(np.uint8)


@pytest.mark.parametrize("method", ["robust", "paper"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (40, 40), (70, 300)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_nothing_is_found_in_a_constant_image(method, shape, dtype):
    for value in (0, 1, 200):
        labels = segment_cells(np.full(shape, value, dtype), method)
        assert labels.dtype == np.int32
        assert labels.shape == shape
        assert not labels.any()


def test_nothing_is_found_in_noise():
    rng = np.random.default_rng(0)
    for level, spread in ((120, 3), (5, 2), (200, 20)):
        noise = rng.normal(level, spread, (600, 600))
        assert segment_cells(noise.clip(0, 255).astype(np.uint8)).max() == 0
        assert segment_cells(noise.astype(np.float32)).max() == 0
    # The recipe as printed takes noise for cells: Otsu always finds a threshold.
    assert segment_cells(noise, "paper").max() > 100


@pytest.mark.parametrize(
    ("config", "um_per_px", "least"),
    [
        pytest.param(ORDINARY, 0.6, 0.94, id="ordinary"),
        pytest.param(ORDINARY.hard(), 0.6, 0.94, id="hard"),
        pytest.param(DENSE, 0.6, 0.94, id="dense"),
        pytest.param(replace(ORDINARY, focus_um=3.0), 0.6, 0.9, id="brighter inside"),
        pytest.param(replace(ORDINARY, bit_depth=12, um_per_px=0.3), 0.3, 0.85, id="12 bits, x40"),
        pytest.param(replace(ORDINARY, unevenness=0.8, exposure=(0.25, 0.3)), 0.6, 0.88, id="dim and uneven"),
    ],
)
def test_phantom_cells_are_found(config, um_per_px, least):
    images = fields(config, 4)
    assert f1_of(images, [segment_cells(field.image, um_per_px=um_per_px) for field in images]) >= least


def test_it_beats_the_recipe_as_printed():
    images = fields(ORDINARY, 3)
    robust, paper = (
        f1_of(images, [segment_cells(one.image, method) for one in images]) for method in ("robust", "paper")
    )
    assert robust > 0.9
    assert 0.1 < paper < robust - 0.25


def test_few_specks_of_a_blank_field_pass_for_cells():
    # Specks as large as small cells are drawn there: 10 to 40 specks a field.
    found = [segment_cells(field.image).max() for field in fields(ORDINARY, 12, blank=True)]
    assert np.mean(found) <= 1


def test_discs_have_their_size_and_place():
    labels = segment_cells(discs([(50, 60), (120, 130), (122, 40)]))
    assert labels.max() == 3
    for label, (y, x) in zip((1, 2, 3), ((50, 60), (120, 130), (122, 40)), strict=True):
        rows, columns = np.nonzero(labels == label)
        assert (rows.mean(), columns.mean()) == pytest.approx((y, x), abs=0.7)
        assert len(rows) == pytest.approx(np.pi * 9.5**2, rel=0.15)


def test_numbers_follow_the_first_pixels():
    labels = segment_cells(discs([(150, 60), (50, 150), (60, 40)]))
    firsts = [np.flatnonzero(labels == label)[0] for label in range(1, labels.max() + 1)]
    assert len(firsts) == 3
    assert firsts == sorted(firsts)


def test_touching_discs_stay_apart():
    labels = segment_cells(discs([(100, 80), (100, 98), (100, 116), (84, 90)]))
    assert labels.max() == 4
    assert len({labels[100, 80], labels[100, 98], labels[100, 116], labels[84, 90]} - {0}) == 4


def test_bright_cells_on_a_dark_ground():
    bright = segment_cells(255 - discs([(50, 60), (120, 130)]))
    assert bright.max() == 2
    assert [bright[50, 60], bright[120, 130]] == [1, 2]


def test_a_cell_cut_by_the_edge_is_found():
    labels = segment_cells(discs([(5, 100), (100, 195), (100, 100)]))
    assert labels.max() == 3
    assert labels[0, 100] > 0
    assert labels[100, 199] > 0


@pytest.mark.parametrize("seed", range(3))
def test_pixel_types_and_colour_give_the_same_cells(seed):
    image = fields(DENSE, 3)[seed].image
    labels = segment_cells(image)
    assert labels.max() > 20
    grey = image.astype(np.float64)
    for other in (
        image.astype(np.uint16) * 257,
        (grey / 255).astype(np.float32),
        grey,
        grey * 1e-3,
        np.dstack([image] * 3),
    ):
        assert np.array_equal(segment_cells(other), labels)


def test_a_faint_cell_of_a_deep_image_is_found():
    faint = 20000 + 240 * (discs([(80, 80)], 160).astype(np.float64) - 180) / 40
    assert segment_cells(np.rint(faint).astype(np.uint16)).max() == 1


TURNS = {
    "left to right": np.fliplr,
    "upside down": np.flipud,
    "quarter": np.rot90,
    "half": lambda image: np.rot90(image, 2),
    "transposed": np.transpose,
}


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_turned_images_hold_as_many_cells(turn):
    for field in fields(ORDINARY, 3):
        turned = np.ascontiguousarray(TURNS[turn](field.image))
        assert segment_cells(turned).max() == segment_cells(field.image).max()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    cells=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=0, max_size=8, unique=True),
    radius=st.integers(7, 12),
    inside=st.sampled_from([60, 130, 230]),
    turn=st.sampled_from(sorted(TURNS)),
)
def test_discs_on_a_grid_are_counted_however_turned(cells, radius, inside, turn):
    places = [(22 + 34 * row, 22 + 34 * column) for row, column in cells]
    image = discs(places, 216, radius, 180, inside)
    assert segment_cells(image).max() == len(places)
    assert segment_cells(np.ascontiguousarray(TURNS[turn](image))).max() == len(places)
    assert segment_cells(image.astype(np.uint16) * 257).max() == len(places)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    method=st.sampled_from(["robust", "paper"]),
)
def test_any_small_image_gives_labels_without_gaps(height, width, seed, dtype, method):
    image = (np.random.default_rng(seed).uniform(0, 255, (height, width))).astype(dtype)
    labels = segment_cells(image, method)
    assert labels.shape == (height, width)
    assert sorted(set(labels.ravel()) - {0}) == list(range(1, labels.max() + 1))


def same_partition(first, second):
    """Whether two label images name the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()], axis=1), axis=0)
    return len(pairs) == len(np.unique(first)) == len(np.unique(second))


def test_tiles_with_their_halo_give_the_cells_of_the_whole():
    config = replace(DENSE, image_wh=(1152, 1024), ctc_count=(40, 40), wbc_count=(120, 120), unevenness=0.6)
    image = fields(config, 1)[0].image
    levels = measure_cell_levels(image)
    whole = segment_cells(image, levels=levels)
    halo = cell_halo_px()
    assert halo % 64 == 0
    assert whole.max() > 120
    for y in range(0, 1024, 512):
        for x in range(0, 1152, 512):
            y0, x0 = max(y - halo, 0), max(x - halo, 0)
            tile = image[y0 : y + 512 + halo, x0 : x + 512 + halo]
            found = segment_cells(tile, levels=levels, origin_xy=(x0, y0))
            inner = whole[y : y + 512, x : x + 512]
            assert same_partition(found[y - y0 :, x - x0 :][: inner.shape[0], : inner.shape[1]], inner)


def test_streamed_levels_are_those_of_the_whole():
    image = fields(replace(ORDINARY, image_wh=(700, 530)), 1)[0].image
    streamed = CellLevelsPass((700, 530), np.uint8)
    for x, y in ((512, 0), (0, 256), (256, 256), (0, 0), (256, 0), (512, 256)):
        streamed.add(image[y : y + 256, x : x + 256], (x, y))
    with pytest.raises(ValueError, match="3 of 9 blocks were never given"):
        streamed.result()
    streamed.add(image[512:], (0, 512))
    levels = measure_cell_levels(image)
    assert streamed.result() == levels
    assert CellLevels.from_dict(levels.to_dict()) == levels
    with pytest.raises(ValueError, match="given twice"):
        streamed.add(image[512:], (0, 512))
    with pytest.raises(ValueError, match="grid of 256"):
        streamed.add(image[:256, :256], (64, 0))


@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (np.zeros((0, 5), np.uint8), {}, ValueError, r"no pixels.*\(0, 5\)"),
        (np.zeros((5, 5, 4), np.uint8), {}, ValueError, r"\(5, 5, 4\)"),
        (np.full((5, 5), np.nan, np.float32), {}, ValueError, "25 NaN"),
        (np.zeros((5, 5), np.int32), {}, TypeError, "int32"),
        (np.zeros((5, 5), np.uint8), {"method": "best"}, ValueError, "robust, paper.*'best'"),
        (np.zeros((5, 5), np.uint8), {"um_per_px": 0}, ValueError, "above 0. Received: 0"),
        (np.zeros((5, 5), np.uint8), {"diameter_um": (9, 3)}, ValueError, "largest larger"),
        (np.zeros((5, 5), np.uint8), {"um_per_px": 3.0}, ValueError, "at least 4 px"),
    ],
)
def test_what_cannot_be_segmented_is_named(image, options, error, message):
    with pytest.raises(error, match=message):
        segment_cells(image, **options)


def test_a_clump_without_outline_of_a_single_cell_is_taken_up_and_flagged():
    image = np.full((300, 300), 180.0)
    # A long block with texture: nothing round in it.
    texture = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 300, (24, 120)), (0, 0), 2)
    image[200:224, 60:180] = 110 + texture
    for x in (40, 100, 160, 220, 270):
        cv2.circle(image, (x, 80), 9, 140.0, -1)
    image = cv2.GaussianBlur(image, (0, 0), 1).clip(0, 255).round().astype(np.uint8)
    labels = segment_cells(image)
    clump = np.zeros(labels.shape, bool)
    clump[200:224, 60:180] = True
    assert (labels[clump] > 0).mean() > 0.5
    cells = measure_cells(labels, image)
    on_clump = [cell for cell in cells if (labels[clump] == cell.label).any()]
    assert any("clump" in cell.reasons or "overlap" in cell.reasons for cell in on_clump)
    assert sum(cell.is_single for cell in cells if cell.box_xyxy[3] < 110) == 5


def test_hardly_a_true_cell_has_no_object_on_it():
    bare = cells = 0
    for field in fields(DENSE, 6):
        labels = segment_cells(field.image)
        pixels = np.bincount(field.instances.ravel())[1:]
        covered = np.bincount(field.instances[labels > 0], minlength=len(pixels) + 1)[1:]
        cells += len(pixels)
        bare += int((covered < pixels / 4).sum())
    assert cells > 150
    assert bare <= 0.02 * cells


def test_blank_fields_give_hardly_an_object():
    counts = [segment_cells(field.image).max() for field in fields(ORDINARY, 16, blank=True)]
    assert np.mean(counts) <= 0.8


@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), dense=st.booleans(), turn=st.sampled_from(sorted(TURNS)))
def test_phantom_fields_are_counted_alike_however_turned(seed, dense, turn):
    config = replace(DENSE if dense else ORDINARY, image_wh=(320, 256))
    image = generate_field(config, np.random.default_rng(seed), blank=False).image
    assert segment_cells(np.ascontiguousarray(TURNS[turn](image))).max() == segment_cells(image).max()


def test_levels_of_a_turned_field_are_those_of_the_field_turned():
    image = fields(replace(DENSE, image_wh=(640, 576)), 1)[0].image
    levels = measure_cell_levels(image)
    for turn in (np.fliplr, np.flipud, np.rot90):
        turned = measure_cell_levels(np.ascontiguousarray(turn(image)))
        assert turned.white == levels.white
        assert np.array_equal(turned.noise, turn(np.array(levels.noise)))


def test_levels_of_another_field_or_size_are_refused():
    image = np.zeros((128, 128), np.uint8)
    levels = measure_cell_levels(image)
    with pytest.raises(ValueError, match="another size"):
        segment_cells(image, levels=levels, um_per_px=0.1)
    with pytest.raises(ValueError, match="inside the field"):
        segment_cells(image, levels=levels, origin_xy=(64, 0))
    with pytest.raises(ValueError, match="whole fields"):
        segment_cells(image, "paper", levels=levels)


def test_fine_images_are_looked_at_smaller():
    assert [cell_size(um).shrink for um in (0.6, 0.375, 0.374, 0.2, 0.05, 0.001)] == [1, 2, 2, 2, 8, 64]
    assert cell_size().least_px == pytest.approx(10)


def test_real_blood_cells(shared_data):
    from ctc_mm.imaging.io import read_image

    # Stained smears: other optics, and cells of 60 px and more.
    paths = sorted((shared_data / "bccd" / "JPEGImages").glob("*.jpg"))[::60]
    found = [segment_cells(read_image(path), um_per_px=0.1, diameter_um=(6.0, 26.0)) for path in paths]
    assert np.mean([labels.max() for labels in found]) > 6
    assert all(1 <= labels.max() <= 40 for labels in found)
