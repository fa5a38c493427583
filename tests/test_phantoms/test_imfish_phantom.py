"""The imFISH phantom's pixels agree with its truth, and what it promises of its hard mode and its files."""

from dataclasses import replace

import numpy as np
import pytest

from ctc_mm.imaging.io import open_field
from ctc_mm.phantoms import (
    IMFISH_POPULATIONS,
    ImFISHPhantomConfig,
    generate_imfish_field,
    write_imfish_fields,
    write_imfish_slide,
)
from ctc_mm.phantoms.imfish_truth import ORIENTATIONS, orient, resolvable_count

SMALL = ImFISHPhantomConfig(
    image_wh=(512, 384), ctc_count=(3, 4), wbc_count=(8, 10), other_count=(1, 2), debris_count=(3, 6)
)
NONE = {f"{name}_count": (0, 0) for name in ("ctc", "wbc", "other", "overlap", "aggregate", "debris")}


@pytest.fixture(scope="module")
def fields():
    return [generate_imfish_field(SMALL, np.random.default_rng(seed)) for seed in range(4)]


def test_blank_field_has_background_alone():
    field = generate_imfish_field(replace(SMALL, **NONE), np.random.default_rng(0))
    assert len(field.truth) == len(field.truth.spots_yx) == 0
    assert not field.instances.any()
    assert field.image_cyx.shape == (3, 384, 512)
    for plane in field.image_cyx:
        assert 0.01 < plane.mean() / field.white_level < 0.1


def test_same_seed_same_pixels():
    one, two = (generate_imfish_field(SMALL, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one.image_cyx, two.image_cyx)
    np.testing.assert_array_equal(one.truth.spots_yx, two.truth.spots_yx)
    assert (one.image_cyx != generate_imfish_field(SMALL, np.random.default_rng(8)).image_cyx).any()


def test_truth_is_that_of_the_instances(fields):
    for field in fields:
        truth = field.truth
        for index in range(len(truth)):
            ys, xs = np.nonzero(field.instances == index + 1)
            if not len(ys):
                assert np.isnan(truth.boxes_xyxy[index]).all()
                continue
            assert truth.boxes_xyxy[index].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            np.testing.assert_allclose(truth.centroids_yx[index], (ys.mean(), xs.mean()), atol=1e-3)
            cut = ys.min() == 0 or xs.min() == 0 or ys.max() == 383 or xs.max() == 511
            assert truth.on_border[index] == cut
            if truth.is_single[index] and not cut:
                # The truth of a nucleus' size is its drawn diameter.
                width_px = truth.diameters_um[index] / 0.25
                assert 2 * np.sqrt(len(ys) / np.pi) == pytest.approx(width_px, rel=0.08)


def test_rule_of_the_truth(fields):
    for field in fields:
        truth = field.truth
        assert truth.is_ctc.tolist() == ((truth.cep8_counts >= 3) & ~truth.cd45_positive).tolist()
        assert truth.is_ctc[truth.population == IMFISH_POPULATIONS.index("CTC")].all()
        assert truth.cd45_positive.tolist() == (truth.population == IMFISH_POPULATIONS.index("WBC")).tolist()
        assert not truth.is_interpretable[~truth.is_single | truth.on_border].any()
        np.testing.assert_array_equal(np.bincount(truth.spot_nuclei, minlength=len(truth)), truth.cep8_counts)
        assert (truth.cep8_resolvable <= truth.cep8_counts).all()
    assert sum(field.truth.is_ctc.sum() for field in fields) >= 12


def test_signals_lie_in_their_nuclei_and_shine(fields):
    for field in fields:
        truth, cep8 = field.truth, field.channel("cep8").astype(float)
        for spot, index in zip(truth.spots_yx, truth.spot_nuclei, strict=True):
            y, x = np.floor(spot + 0.5).astype(int)
            if not (truth.is_interpretable[index] and truth.is_single[index]):
                continue
            assert field.instances[y, x] == index + 1
            nucleus = cep8[field.instances == index + 1]
            assert cep8[y - 1 : y + 2, x - 1 : x + 2].mean() > np.median(nucleus) + 3 * np.std(nucleus) / 2


def test_signal_is_where_the_truth_says():
    config = replace(SMALL, **NONE | {"ctc_count": (1, 1)}, unevenness=0, read_noise_electrons=0)
    config = replace(config, full_well_electrons=1e9, defocus_um=0.0, out_of_focus_fraction=0.0)
    field = generate_imfish_field(config, np.random.default_rng(3))
    cep8 = field.channel("cep8").astype(float)
    y, x = field.truth.spots_yx[np.argmax(np.linalg.norm(np.diff(field.truth.spots_yx, axis=0), axis=1))]
    row, column = int(y + 0.5), int(x + 0.5)
    window = cep8[row - 2 : row + 3, column - 2 : column + 3]
    weights = window - window.min()
    ys, xs = np.mgrid[-2:3, -2:3]
    assert row + (weights * ys).sum() / weights.sum() == pytest.approx(y, abs=0.35)
    assert column + (weights * xs).sum() / weights.sum() == pytest.approx(x, abs=0.35)


def test_cd45_shines_around_white_blood_cells_alone(fields):
    for field in fields:
        cd45 = field.channel("cd45").astype(float)
        means = np.array([cd45[field.instances == i + 1].mean() for i in np.flatnonzero(field.truth.is_interpretable)])
        positive = field.truth.cd45_positive[field.truth.is_interpretable]
        if positive.any() and not positive.all():
            assert means[positive].min() > means[~positive].max()


def test_bleed_through_is_what_the_config_says():
    config = replace(SMALL, **NONE | {"wbc_count": (6, 6)}, unevenness=0, full_well_electrons=1e9)
    config = replace(config, read_noise_electrons=0, exposure=(1, 1), background=(0.03, 0.03))
    config = replace(config, wbc=replace(config.wbc, cep8_shares={0: 1.0}, cd45=0.0))
    leaking = replace(config, bleed_through=((1, 0.2, 0), (0, 1, 0), (0, 0, 1)))
    tight = replace(config, bleed_through=((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    one, none = (generate_imfish_field(each, np.random.default_rng(2)) for each in (leaking, tight))
    inside = one.instances > 0
    dapi = one.channel("dapi").astype(float) - 0.03 * 4095
    assert none.channel("cep8")[inside].mean() == pytest.approx(0.03 * 4095, abs=1)
    assert one.channel("cep8")[inside].mean() - 0.03 * 4095 == pytest.approx(0.2 * dapi[inside].mean(), rel=0.02)


def test_hard_mode_has_no_size_cue():
    hard = ImFISHPhantomConfig().without_size_cue()
    rng = np.random.default_rng(0)
    truths = [generate_imfish_field(hard, rng).truth for _ in range(8)]
    sizes = {flag: np.concatenate([t.diameters_um[t.is_ctc == flag] for t in truths]) for flag in (True, False)}
    assert len(sizes[True]) > 40
    # Area under the ROC curve of the diameter: 0.5 where size tells nothing.
    auc = (sizes[True][:, None] > sizes[False][None, :]).mean()
    assert abs(auc - 0.5) < 0.1
    easy = [generate_imfish_field(ImFISHPhantomConfig(), rng).truth for _ in range(3)]
    ctc, others = (np.concatenate([t.diameters_um[t.is_ctc == flag] for t in easy]) for flag in (True, False))
    assert (ctc[:, None] > others[None, :]).mean() > 0.9


def test_white_blood_cells_may_have_any_number_of_signals():
    truths = [generate_imfish_field(ImFISHPhantomConfig(), np.random.default_rng(seed)).truth for seed in range(4)]
    counts = np.concatenate([truth.cep8_counts[truth.cd45_positive] for truth in truths])
    assert {1, 2, 3} <= set(counts.tolist())
    assert 0.8 < (counts == 2).mean() < 0.97


@pytest.mark.parametrize(
    ("spots", "expected"),
    [
        (np.zeros((0, 2)), 0),
        ([[5, 5]], 1),
        ([[5, 5], [5, 7.3]], 1),
        ([[5, 5], [5, 7.5]], 2),
        ([[5, 5], [5, 7], [5, 9]], 1),
        ([[5, 5], [5, 7], [15, 9]], 2),
    ],
)
def test_signals_nearer_than_their_width_are_one(spots, expected):
    assert resolvable_count(np.asarray(spots, float), np.ones(len(spots))) == expected


@pytest.mark.parametrize("way", range(ORIENTATIONS))
def test_truth_turns_with_the_image(way):
    field = generate_imfish_field(replace(SMALL, image_wh=(384, 384)), np.random.default_rng(4))
    instances, truth = orient(field.instances, way), field.truth.oriented(way, 384)
    for index in range(len(truth)):
        ys, xs = np.nonzero(instances == index + 1)
        if len(ys):
            assert truth.boxes_xyxy[index].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            np.testing.assert_allclose(truth.centroids_yx[index], (ys.mean(), xs.mean()), atol=1e-3)
    cep8 = orient(field.channel("cep8"), way)
    here = np.floor(truth.spots_yx + 0.5).astype(int).clip(0, 383)
    there = np.floor(field.truth.spots_yx + 0.5).astype(int).clip(0, 383)
    bright = np.abs(cep8[tuple(here.T)].astype(int) - field.channel("cep8")[tuple(there.T)])
    assert np.median(bright) == 0


def test_slide_is_its_truth_and_repeats_itself(tmp_path):
    config = replace(SMALL, wbc_count=(3, 4), debris_count=(0, 2), overlap_count=(0, 0), aggregate_count=(0, 0))
    one, two = tmp_path / "one.ome.tif", tmp_path / "two.ome.tif"
    truth = write_imfish_slide(one, (768, 512), config, seed=3, block_px=256, scenes=2)
    write_imfish_slide(two, (768, 512), config, seed=3, block_px=256, scenes=2)
    assert one.read_bytes() == two.read_bytes()
    with open_field(one) as slide:
        assert (slide.channels, slide.size_wh, slide.um_per_px) == (("dapi", "cep8", "cd45"), (768, 512), 0.25)
        dapi, cep8 = slide.read(["dapi", "cep8"])
    single = truth.is_interpretable
    assert single.sum() >= 6
    middles = np.floor(truth.centroids_yx[single] + 0.5).astype(int)
    assert (dapi[tuple(middles.T)] > 2 * np.median(dapi)).all()
    spots = np.floor(truth.spots_yx[single[truth.spot_nuclei]] + 0.5).astype(int)
    assert np.median(cep8[tuple(spots.T)]) > 2 * np.median(cep8)
    assert not truth.on_border.any()


def test_fields_of_patients_on_disk(tmp_path):
    truths = write_imfish_fields(tmp_path, {"P01": 2, "P02": 1}, replace(SMALL, bit_depth=8), seed=1)
    assert sorted(truths) == ["P01/P01_f01.ome.tif", "P01/P01_f02.ome.tif", "P02/P02_f01.ome.tif"]
    fewer = write_imfish_fields(tmp_path / "again", {"P02": 1}, replace(SMALL, bit_depth=8), seed=1)
    np.testing.assert_array_equal(fewer["P02/P02_f01.ome.tif"].spots_yx, truths["P02/P02_f01.ome.tif"].spots_yx)
    name = "P02/P02_f01.ome.tif"
    assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    with open_field(tmp_path / name) as field:
        assert (field.dtype, field.channels) == (np.uint8, ("dapi", "cep8", "cd45"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_wh": (32, 512)}, "`image_wh` must be width and height of at least 64 px"),
        ({"bit_depth": 9}, "`bit_depth` must be one of"),
        ({"um_per_px": 0}, "`um_per_px` must be above 0. Received: 0"),
        ({"touching_fraction": 1.5}, "`touching_fraction` must be from 0 to 1"),
        ({"ctc_count": (5, 2)}, "`ctc_count` must be two whole numbers"),
        ({"exposure": (0, 1)}, "`exposure` must be positive and rise"),
        ({"bleed_through": ((1, 0), (0, 1))}, "`bleed_through` must be 3 x 3"),
        ({"stain_spread": -1}, "`stain_spread` must be at least 0"),
    ],
)
def test_bad_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ImFISHPhantomConfig(**change)


def test_bad_populations_and_requests_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`cep8_shares` must map numbers"):
        replace(SMALL.ctc, cep8_shares={3: 0.4})
    with pytest.raises(ValueError, match="`diameter_range_um` must be positive"):
        replace(SMALL.ctc, diameter_range_um=(20.0, 30.0))
    with pytest.raises(TypeError, match="numpy.random.Generator"):
        generate_imfish_field(SMALL, 3)
    with pytest.raises(ValueError, match="multiples of `block_px`"):
        write_imfish_slide(tmp_path / "a.ome.tif", (1000, 1024), block_px=512)
