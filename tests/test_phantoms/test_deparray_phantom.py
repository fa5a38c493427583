"""Synthetic DEPArray crops: exact truth, batch effects of patients, no size cue in the hard mode, the same bytes."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ctc_mm.imaging.io import read_image
from ctc_mm.phantoms import DEPArrayPhantomConfig, generate_patients, write_deparray_export
from ctc_mm.phantoms.deparray import generate_patient

CALM = DEPArrayPhantomConfig(batch_effects=0, rejected_fraction=0)


def cells_of(config, seed=0):
    return [cell for patient in generate_patients(config, seed) for cell in patient.cells]


@pytest.fixture(scope="module")
def ordinary():
    return cells_of(replace(CALM, patients=8), seed=1)


@pytest.fixture(scope="module")
def hard():
    return cells_of(replace(CALM, patients=16).hard(), seed=1)


def auc(cells, measure):
    """Chance that a CTC measures more than a WBC: 0.5 where the measure tells nothing."""
    values = np.array([measure(cell) for cell in cells], float)
    ctc, wbc = (values[[cell.label == label for cell in cells]] for label in (0, 1))
    return float(((ctc[:, None] > wbc).mean() + (ctc[:, None] >= wbc).mean()) / 2)


def dapi_area(cell):
    return (cell.dapi > cv2.threshold(cell.dapi, 0, 255, cv2.THRESH_OTSU)[0]).sum()


def grain(cell):
    inside = cv2.erode(cell.cell_mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return cv2.GaussianBlur(cell.brightfield.astype(np.float32), (0, 0), 1.5)[inside].std()


SIZES = {
    "diameter": lambda cell: cell.diameter_um,
    "cell area": lambda cell: cell.cell_mask.sum(),
    "nucleus area": lambda cell: cell.nucleus_mask.sum(),
    "measured DAPI area": dapi_area,
    "DAPI signal": lambda cell: (cell.dapi - np.median(cell.dapi)).sum(),
}


def test_no_cells():
    (patient,) = generate_patients(replace(CALM, patients=1, ctc_count=(0, 0), wbc_count=(0, 0)))
    assert patient.cells == ()


@pytest.mark.parametrize("name", SIZES)
def test_size_tells_the_classes_apart_in_the_ordinary_mode_only(ordinary, hard, name):
    assert auc(ordinary, SIZES[name]) > 0.85
    # 16 patients give about 280 CTCs and 360 WBCs: chance alone moves the AUC by 0.023 (one standard deviation).
    assert abs(auc(hard, SIZES[name]) - 0.5) < 0.07


def test_the_hard_mode_can_be_solved_by_texture(hard):
    assert auc(hard, grain) > 0.75


def test_diameters_of_the_hard_mode_have_one_distribution(hard):
    ctc, wbc = (np.array([cell.diameter_um for cell in hard if cell.label == label]) for label in (0, 1))
    assert ctc.mean() == pytest.approx(wbc.mean(), abs=0.35)
    assert ctc.std() == pytest.approx(wbc.std(), rel=0.2)


def test_truth_fits_the_images(ordinary):
    contrasts = []
    for cell in ordinary:
        assert (cell.nucleus_mask <= cell.cell_mask).all()
        assert cell.nucleus_mask.any()
        area_um2 = cell.cell_mask.sum() * CALM.um_per_px**2
        assert 2 * np.sqrt(area_um2 / np.pi) == pytest.approx(cell.diameter_um, rel=0.1)
        edge = np.concatenate([cell.cell_mask[[0, -1]].ravel(), cell.cell_mask[:, [0, -1]].ravel()])
        assert not edge.any()
        # DAPI shines where the nucleus is, and the bright field is flat away from the cell.
        assert cell.dapi[cell.nucleus_mask].mean() > 2 * cell.dapi[~cell.cell_mask].mean()
        away = cv2.dilate(cell.cell_mask.astype(np.uint8), np.ones((15, 15), np.uint8)) == 0
        inside = cv2.dilate(cell.cell_mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        contrasts.append(cell.brightfield[inside].std() / cell.brightfield[away].std())
    # A cell in focus almost vanishes in bright field: not every one stands out from the tilt and the noise.
    assert np.mean(np.array(contrasts) > 1.5) > 0.9


def test_twins_show_the_same_nucleus():
    # In focus a nucleus absorbs in the bright field where it shines in DAPI.
    config = replace(CALM, patients=2, defocus_sd_um=0)
    seen = []
    for patient in generate_patients(config, 2):
        for cell in patient.cells:
            body = cell.cell_mask & ~cell.nucleus_mask
            seen.append(float(cell.brightfield[cell.nucleus_mask].mean()) < float(cell.brightfield[body].mean()))
    assert np.mean(seen) > 0.7


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (12, np.uint16), (16, np.uint16)])
def test_bit_depths(bits, dtype):
    config = replace(CALM, patients=1, bit_depth=bits, crop_px=64)
    for cell in cells_of(config):
        for image in (cell.brightfield, cell.dapi):
            assert (image.dtype, image.shape) == (dtype, (64, 64))
            assert 0.005 < image.max() / config.white_level <= 1
        assert (cell.brightfield == config.white_level).mean() < 0.01
        assert (cell.dapi == config.white_level).mean() < 0.05


def corners(image):
    return np.concatenate([image[:8].ravel(), image[-8:].ravel()]).astype(float)


def test_patients_differ_and_their_own_images_do_not():
    config = DEPArrayPhantomConfig(patients=8, rejected_fraction=0)
    for channel in ("brightfield", "dapi"):
        levels = [[np.median(corners(getattr(c, channel))) for c in p.cells] for p in generate_patients(config, 4)]
        within = np.mean([np.std(level) for level in levels])
        assert np.std([np.mean(level) for level in levels]) > 5 * within
    effects = [patient.effects for patient in generate_patients(config, 4)]
    for name in vars(effects[0]):
        assert len({getattr(one, name) for one in effects}) == len(effects), name
    calm = [patient.effects for patient in generate_patients(CALM, 4)]
    assert len(set(calm)) == 1


@pytest.mark.parametrize(
    ("effect", "measure"),
    [
        ({"background": 0.7}, lambda cell: corners(cell.brightfield).mean()),
        ({"gain": 1.3}, lambda cell: corners(cell.brightfield).mean()),
        ({"offset": 0.2}, lambda cell: corners(cell.dapi).mean()),
        ({"dapi_background": 0.2}, lambda cell: corners(cell.dapi).mean()),
        ({"dapi_gain": 2.0}, lambda cell: cell.dapi.astype(float).max()),
        ({"read_noise_electrons": 200}, lambda cell: corners(cell.dapi).std()),
        ({"tilt": 0.5}, lambda cell: corners(cell.brightfield).std()),
        ({"blur_px": 3.0}, lambda cell: -cv2.Laplacian(cell.brightfield.astype(float), -1)[cell.cell_mask].std()),
        ({"focus_um": -9.0}, lambda cell: abs(cell.defocus_um)),
    ],
)
def test_each_batch_effect_shows(monkeypatch, effect, measure):
    def draw(config, name="P001"):
        return generate_patient(config, name, np.random.default_rng(0)).cells

    plain = draw(CALM)
    original = DEPArrayPhantomConfig.draw_effects
    monkeypatch.setattr(DEPArrayPhantomConfig, "draw_effects", lambda self, rng: replace(original(self, rng), **effect))
    for before, after in zip(plain, draw(CALM), strict=True):
        assert (before.cell_mask == after.cell_mask).all()
        assert measure(after) > measure(before)


def test_rejected_cells_are_far_out_of_focus():
    cells = cells_of(DEPArrayPhantomConfig(rejected_fraction=0.3))
    rejected = [cell for cell in cells if not cell.keep]
    assert 0.2 < len(rejected) / len(cells) < 0.4
    assert min(abs(cell.defocus_um) for cell in rejected) >= 14
    assert max(abs(cell.defocus_um) for cell in cells if cell.keep) < 12


def test_the_same_seed_gives_the_same_pixels_and_a_longer_set_begins_alike():
    first, again, longer, other = (
        cells_of(DEPArrayPhantomConfig(patients=count), seed) for count, seed in ((2, 5), (2, 5), (3, 5), (2, 6))
    )
    for one, two in (*zip(first, again, strict=True), *zip(first, longer, strict=False)):
        np.testing.assert_array_equal(one.brightfield, two.brightfield)
        np.testing.assert_array_equal(one.dapi, two.dapi)
        assert (one.sample, one.number, one.label) == (two.sample, two.number, two.label)
    assert len(longer) > len(first)
    assert not np.array_equal(first[0].brightfield, other[0].brightfield)


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_export_on_disk(tmp_path):
    config = replace(DEPArrayPhantomConfig(patients=2), ctc_count=(2, 3), wbc_count=(2, 3))
    summary = write_deparray_export(tmp_path / "a", config, seed=7)
    write_deparray_export(tmp_path / "b", config, seed=7)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    write_deparray_export(tmp_path / "a", config, seed=7)  # once more, over itself
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    cells = cells_of(config, seed=7)
    assert summary.cells == {name: sum(cell.class_name == name for cell in cells) for name in ("CTC", "WBC")}
    assert len(list(summary.export_dir.rglob("*.png"))) == 2 * len(cells)
    for cell in cells:
        stem = summary.export_dir / cell.sample / f"{cell.number:04d}"
        np.testing.assert_array_equal(read_image(f"{stem}_BF.png"), cell.brightfield)
        np.testing.assert_array_equal(read_image(f"{stem}_DAPI.png"), cell.dapi)
    truth = json.loads((tmp_path / "a/truth.json").read_text())
    assert [cell["diameter_um"] for patient in truth for cell in patient["cells"]] == [c.diameter_um for c in cells]
    assert len(summary.table.read_text().splitlines()) == len(cells) + 1
    assert "No claim about real CTCs" in (tmp_path / "a/about.txt").read_text()


def test_two_exports_are_not_mixed(tmp_path):
    write_deparray_export(tmp_path, replace(CALM, patients=2))
    with pytest.raises(ValueError, match="holds .* files that are not of this set .P002_S1/0001_BF.png"):
        write_deparray_export(tmp_path, replace(CALM, patients=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patients": 0}, "`patients` must be from 1"),
        ({"samples_per_patient": 0}, "`samples_per_patient` from 1"),
        ({"ctc_count": (3, 2)}, "`ctc_count` must be"),
        ({"bit_depth": 9}, "`bit_depth` must be one of"),
        ({"um_per_px": 0}, "`um_per_px` must be above 0"),
        ({"batch_effects": -1}, "`batch_effects` must be from 0"),
        ({"rejected_fraction": 1.1}, "`rejected_fraction` must be from 0"),
        ({"crop_px": 40}, "`crop_px` must hold the largest cell"),
    ],
)
def test_configs_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CALM, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fraction": 2}, "`fraction` must be from 0.2 to 0.9. Received: 2"),
        ({"brightness_sd": -1}, "`brightness_sd` must be from 0"),
        ({"lobes": (2, 1)}, "`lobes` must be two whole numbers"),
    ],
)
def test_nuclei_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CALM.ctc_nuclei, **change)


def test_bad_sources_of_randomness():
    with pytest.raises(ValueError, match="`seed` must be at least 0"):
        next(generate_patients(CALM, -1))
    with pytest.raises(TypeError, match="`rng` must be"):
        generate_patient(CALM, "P1", 0)
