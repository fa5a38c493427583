"""Synthetic fields: reproducible, honest, and with truth that fits the pixels."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ctc_mm.phantoms import BrightfieldPhantomConfig, CellPopulation, ObjectTraits, generate_field

CONFIG = BrightfieldPhantomConfig(image_wh=(400, 360))
# No light, camera or focus effects: what remains is what the cells themselves do.
CLEAN = replace(
    CONFIG, unevenness=0.0, debris_count=(0, 0), full_well_electrons=1e9, read_noise_electrons=0.0, exposure=(0.6, 0.6)
)


def draw(config=CONFIG, seed=0, **kwargs):
    return generate_field(config, np.random.default_rng(seed), **kwargs)


def test_blank_field_has_no_cells_but_debris_and_noise():
    field = draw(blank=True)
    assert field.boxes_xyxy.shape == (0, 4)
    assert field.boxes_xyxy.dtype == np.float32
    assert field.labels.shape == field.diameters_um.shape == (0,)
    assert not field.instances.any()
    clean = draw(replace(CONFIG, debris_count=(0, 0), unevenness=0.0, exposure=(0.6, 0.6)), blank=True)
    spread = np.sqrt(0.6 * 9000 + 12**2) / 9000 * 255
    assert clean.image.std() == pytest.approx(spread, rel=0.05), "camera noise only"
    dusty = draw(replace(CONFIG, debris_count=(30, 30), unevenness=0.0, exposure=(0.6, 0.6)), blank=True)
    assert dusty.image.min() < clean.image.min() - 20
    assert (dusty.image < clean.image.min()).mean() < 0.05, "debris is small"


def test_same_seed_same_field_other_seed_other_field():
    first, again, other = draw(seed=3), draw(seed=3), draw(seed=4)
    for name in ("image", "boxes_xyxy", "labels", "instances", "diameters_um"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_the_tight_bounds_of_the_masks(seed):
    field = draw(replace(CONFIG, touching_fraction=0.6), seed, blank=False)
    assert field.instances.dtype == np.int32
    assert set(np.unique(field.instances)) == set(range(len(field.labels) + 1))
    for index, (x0, y0, x1, y1) in enumerate(field.boxes_xyxy.astype(int)):
        mask = field.instances == index + 1
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        for edge in (mask[y0, x0:x1], mask[y1 - 1, x0:x1], mask[y0:y1, x0], mask[y0:y1, x1 - 1]):
            assert edge.any()
        pieces, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        assert stats[1:, cv2.CC_STAT_AREA].max() > 0.97 * mask.sum(), "a cell is one piece"
        assert pieces >= 2


def test_masks_have_the_diameters_in_um_that_were_drawn():
    config = replace(CLEAN, image_wh=(900, 900), touching_fraction=0.0)
    ratios, diameters = [], {0: [], 1: []}
    for seed in range(6):
        field = draw(config, seed, blank=False)
        for index, (box, label) in enumerate(zip(field.boxes_xyxy, field.labels, strict=True)):
            diameters[int(label)].append(field.diameters_um[index])
            if box.min() > 0 and box.max() < 900:
                area_um2 = (field.instances == index + 1).sum() * config.um_per_px**2
                ratios.append(np.sqrt(4 * area_um2 / np.pi) / field.diameters_um[index])
    assert len(ratios) > 40
    assert np.mean(ratios) == pytest.approx(1, abs=0.02)
    assert np.abs(np.array(ratios) - 1).max() < 0.15
    assert min(diameters[0]) >= 10
    assert max(diameters[0]) <= 20
    assert min(diameters[1]) >= 7
    assert max(diameters[1]) <= 12


def test_um_per_px_scales_the_boxes():
    widths = []
    for um_per_px in (0.6, 0.3):
        config = replace(CLEAN, um_per_px=um_per_px, touching_fraction=0.0, image_wh=(800, 800))
        fields = [draw(config, seed, blank=False) for seed in range(3)]
        widths.append(np.median(np.concatenate([f.boxes_xyxy[:, 2] - f.boxes_xyxy[:, 0] for f in fields])))
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.25)


def test_truth_is_where_the_light_changes():
    """Outside of cells and their halos nothing happens, inside it does: the mask fits the picture."""
    field = draw(replace(CLEAN, defocus_sd_um=0.0), 1, blank=False)
    change = np.abs(field.image.astype(float) / field.white_level - 0.6)
    cells = field.instances > 0
    near = cv2.dilate(cells.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
    assert change[~near].max() < 0.01
    for label in range(1, len(field.labels) + 1):
        assert change[field.instances == label].mean() > 0.02


def test_halo_is_bright_or_dark_by_focus():
    means = {}
    for focus_um in (-3.0, 3.0):
        field = draw(replace(CLEAN, focus_um=focus_um, defocus_sd_um=0.0, touching_fraction=0.0), 2, blank=False)
        cells = (field.instances > 0).astype(np.uint8)
        ring = (cv2.dilate(cells, np.ones((3, 3), np.uint8)) - cells) > 0
        means[focus_um] = field.image[ring].mean() / field.white_level
    assert means[-3.0] > 0.63
    assert means[3.0] < 0.57


def test_touching_cells_touch():
    def share_in_contact(touching_fraction):
        in_contact = []
        for seed in range(4):
            field = draw(replace(CLEAN, touching_fraction=touching_fraction), seed, blank=False)
            for label in range(1, len(field.labels) + 1):
                near = cv2.dilate((field.instances == label).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
                in_contact.append(np.isin(field.instances[near], [0, label]).all())
        return 1 - np.mean(in_contact)

    assert share_in_contact(0.8) > 0.6
    assert share_in_contact(0.0) < 0.1


def texture(field, label):
    """Mean and deviation of light well inside the cells of one class."""
    values = []
    for index in np.flatnonzero(field.labels == label):
        mask = cv2.erode((field.instances == index + 1).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        values.append((field.image[mask].mean() / field.white_level, field.image[mask].std() / field.white_level))
    return np.array(values)


def test_hard_mode_differs_in_texture_alone():
    hard = replace(CLEAN, image_wh=(1200, 1200), focus_um=0.0, defocus_sd_um=0.0, touching_fraction=0.0).hard()
    assert hard.ctc.diameter_range_um == hard.wbc.diameter_range_um
    plain = {"grain_um": 1.0, "grain_contrast": 0.0}
    assert replace(hard.ctc, traits=replace(hard.ctc.traits, **plain)) == replace(
        hard.wbc, traits=replace(hard.wbc.traits, **plain)
    )
    hard = replace(hard, ctc_count=(30, 30), wbc_count=(30, 30))
    field = draw(hard, 0, blank=False)
    sizes = [field.diameters_um[field.labels == label] for label in (0, 1)]
    assert sizes[0].mean() == pytest.approx(sizes[1].mean(), abs=1.0)
    ctc, wbc = texture(field, 0), texture(field, 1)
    assert ctc[:, 0].mean() == pytest.approx(wbc[:, 0].mean(), abs=0.01), "equally dark"
    assert np.median(ctc[:, 1]) > 1.5 * np.median(wbc[:, 1]), "but of another texture"


def test_default_classes_differ_in_size():
    fields = [draw(seed=seed, blank=False) for seed in range(6)]
    ctc, wbc = (np.concatenate([f.diameters_um[f.labels == label] for f in fields]) for label in (0, 1))
    assert ctc.mean() > wbc.mean() + 3


@pytest.mark.parametrize(("bit_depth", "white"), [(8, 255), (12, 4095), (16, 65535)])
def test_bit_depths(bit_depth, white):
    field = draw(replace(CONFIG, bit_depth=bit_depth), blank=False)
    assert field.image.dtype == (np.uint8 if bit_depth == 8 else np.uint16)
    assert field.white_level == white
    assert white / 4 < field.image.max() <= white
    if bit_depth > 8:
        assert len(np.unique(field.image)) > 256


def test_blank_fraction_and_counts_are_kept():
    config = replace(CONFIG, image_wh=(200, 200), blank_fraction=0.5, ctc_count=(2, 2), wbc_count=(1, 3))
    rng = np.random.default_rng(0)
    fields = [generate_field(config, rng) for _ in range(60)]
    blank = sum(len(f.labels) == 0 for f in fields)
    assert 18 <= blank <= 42
    for field in fields:
        if len(field.labels):
            counts = np.bincount(field.labels, minlength=2)
            assert counts.sum() + field.unplaced >= 3
            assert counts[0] <= 2
            assert counts[1] <= 3


def test_cells_without_room_are_counted():
    field = draw(replace(CONFIG, image_wh=(100, 100), ctc_count=(40, 40), wbc_count=(0, 0)), blank=False)
    assert field.unplaced > 0
    assert len(field.labels) + field.unplaced == 40


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_wh": (8, 640)},
        {"bit_depth": 9},
        {"um_per_px": 0.0},
        {"um_per_px": 3.0},
        {"blank_fraction": 1.5},
        {"touching_fraction": -0.1},
        {"ctc_count": (5, 2)},
        {"exposure": (0.9, 0.2)},
        {"defocus_sd_um": -1.0},
        {"focus_um": float("nan")},
        {"full_well_electrons": 0.0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_wrong_parameters_are_named(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"`{name}`.*Received"):
        BrightfieldPhantomConfig(**wrong)


def test_wrong_populations_and_seeds_are_named():
    traits = CONFIG.ctc.traits
    with pytest.raises(ValueError, match="`diameter_range_um`"):
        CellPopulation(9.0, 1.0, (10.0, 20.0), traits)
    with pytest.raises(ValueError, match="`irregularity` must be from 0 to 0.3"):
        replace(traits, irregularity=0.5)
    with pytest.raises(TypeError, match=r"default_rng\(seed\)"):
        generate_field(CONFIG, 3)


def test_traits_of_zero_make_an_invisible_cell_with_truth():
    ghost = ObjectTraits(0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    population = CellPopulation(12.0, 0.0, (10.0, 14.0), ghost)
    field = draw(replace(CLEAN, ctc=population, wbc=population), 0, blank=False)
    assert np.ptp(field.image) <= 1
    assert len(field.labels) > 0
    np.testing.assert_array_equal(field.diameters_um, 12.0)
