"""The rule on whole fields: the same result however they are cut, turned or stored, and clear words where it cannot."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imfish_images import THREE, TWO, UM_PER_PX, HandDrawnField, one_of_each

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.io import field_from_arrays, open_field
from ctc_mm.imaging.nuclei import segment_nuclei
from ctc_mm.imfish import ImFISHSettings, ImFISHThresholds, classify_field, classify_nuclei
from ctc_mm.phantoms import ImFISHPhantomConfig, write_imfish_slide

NAMES = ("dapi", "cep8", "cd45")


def field_of(channels, **kwargs):
    return field_from_arrays(dict(zip(NAMES, channels, strict=False)), um_per_px=UM_PER_PX, **kwargs)


def reasons(records):
    return sorted(record.reason for record in records)


EMPTY_IMAGES = {
    "zeros": np.zeros((300, 260), np.uint16),
    "constant": np.full((64, 64), 77, np.uint8),
    "white": np.full((64, 70), 65535, np.uint16),
    "one_pixel": np.array([[5]], np.uint8),
    "one_row": np.arange(40, dtype=np.uint8)[None, :],
    "float": np.full((32, 32), 0.25, np.float32),
}


@pytest.mark.parametrize("mode", ["full", "paper"])
@pytest.mark.parametrize("image", EMPTY_IMAGES.values(), ids=EMPTY_IMAGES)
def test_image_without_nuclei_gives_no_record(image, mode):
    result = classify_field(field_of([image] * 3), mode=mode)
    assert (result.records, result.ctc_count, dict(result.reason_counts)) == ((), 0, {})
    assert ImFISHThresholds.from_dict(result.thresholds.to_dict()) == result.thresholds


def test_noise_gives_no_ctc():
    rng = np.random.default_rng(1)
    channels = [rng.normal(200, 14, (512, 512)).astype(np.uint16) for _ in NAMES]
    assert all(not record.is_ctc for record in classify_nuclei(*channels, um_per_px=UM_PER_PX))


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A slide of 1024 x 1024 px in which nuclei lie on every tile's border, and its results tile by tile."""
    path = tmp_path_factory.mktemp("slide") / "slide.ome.tif"
    config = ImFISHPhantomConfig(wbc_count=(9, 12), ctc_count=(3, 4), other_count=(1, 1), debris_count=(4, 8))
    write_imfish_slide(path, (1024, 1024), config, seed=5, block_px=512, scenes=3)
    return path


def test_tiles_do_not_change_the_result(slide):
    with open_field(slide) as field:
        whole = classify_field(field, tile_px=1024, workers=1)
        assert len(whole.records) > 40
        assert whole.ctc_count >= 8
        for tile_px, workers in ((512, 2), (256, 3)):
            assert classify_field(field, tile_px=tile_px, workers=workers) == whole
        assert classify_nuclei(*field.read(NAMES), um_per_px=field.um_per_px) == list(whole.records)


@pytest.mark.parametrize("seed", range(3))
def test_chain_of_nuclei_across_tiles_is_one_aggregate(seed):
    drawn = HandDrawnField((1024, 320), seed=seed)
    for place in range(26):
        drawn.nucleus(130 + 8 * (place % 2), 40 + 34 * place, radius=18, spots=THREE)
    field = field_of(drawn.channels())
    whole = classify_field(field, tile_px=1024)
    assert {record.reason for record in whole.records} <= {"aggregate", "overlap"}
    assert max(record.touching for record in whole.records) > 5
    assert classify_field(field, tile_px=256) == whole


def test_smears_larger_than_tiles_do_not_change_the_result():
    drawn = HandDrawnField((1024, 768))
    ys, xs = np.mgrid[:768, :1024]
    drawn.light[0] += 700 * np.exp(-(((ys - 0.6 * xs - 60) / 9) ** 2))  # a fibre across all tiles
    drawn.light[0] += 500 * np.clip(1 - np.hypot(ys - 560, xs - 300) / 170, 0, None) ** 0.5  # a blob over four
    for place in range(30):
        drawn.nucleus(70 + 125 * (place // 6), 90 + 160 * (place % 6), spots=THREE, cd45=500 * (place % 2))
    field = field_of(drawn.channels())
    whole = classify_field(field, tile_px=1024)
    assert whole.ctc_count >= 3
    for tile_px in (256, 512):
        assert classify_field(field, tile_px=tile_px) == whole


def test_channels_in_files_of_other_bit_depths_give_the_same_cells():
    eight = [np.minimum(plane // 8, 255).astype(np.uint8) for plane in one_of_each().channels()]
    first = classify_nuclei(*eight, um_per_px=UM_PER_PX)
    assert reasons(first).count("ctc") == 1
    for other in (
        [plane.astype(np.uint16) * 257 for plane in eight],
        [plane.astype(np.float32) for plane in eight],
        [plane.astype(np.float32) / 255 for plane in eight],
    ):
        second = classify_nuclei(*other, um_per_px=UM_PER_PX)
        assert [one.box_xyxy for one in second] == [one.box_xyxy for one in first]
        assert [one.reason for one in second] == [one.reason for one in first]
        assert [one.cep8_count for one in second] == [one.cep8_count for one in first]


@settings(max_examples=8, deadline=None, derandomize=True)
@given(turns=st.integers(0, 3), mirrored=st.booleans(), seed=st.integers(0, 50))
def test_turned_and_mirrored_fields_have_the_same_cells(turns, mirrored, seed):
    drawn = HandDrawnField((256, 256), seed=seed)
    drawn.nucleus(60, 60, spots=THREE).nucleus(60, 180, cd45=700, spots=THREE)
    drawn.nucleus(180, 70, spots=TWO).nucleus(190, 190, radius=24, spots=(*THREE, (-9, 9)))
    turned = [np.rot90(plane[:, ::-1] if mirrored else plane, turns) for plane in drawn.channels()]
    records = classify_nuclei(*(np.ascontiguousarray(plane) for plane in turned), um_per_px=UM_PER_PX)
    assert reasons(records) == ["cd45_positive", "cep8_2", "ctc", "ctc"]
    assert sorted(record.cep8_count for record in records) == [2, 3, 3, 4]


def test_record_i_is_label_i_plus_1():
    channels = one_of_each().channels()
    labels = segment_nuclei(channels[0])
    records = classify_nuclei(*channels, um_per_px=UM_PER_PX)
    assert len(records) == labels.max()
    for label, record in enumerate(records, start=1):
        ys, xs = np.nonzero(labels == label)
        assert record.box_xyxy == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert record.area_px == len(ys)


@pytest.mark.parametrize("method", ["robust", "paper"])
def test_paper_mode_needs_no_cd45(method):
    dapi, cep8, _ = one_of_each().channels()
    records = classify_nuclei(dapi, cep8, None, mode="paper", method=method, um_per_px=UM_PER_PX)
    assert records != []
    assert {record.cd45 for record in records} == {None}
    assert all(record.is_ctc == (record.cep8_count >= 3) for record in records)
    assert {record.reason[:4] for record in records} <= {"ctc", "cep8"}


def test_whole_channel_methods_do_not_depend_on_tiles():
    drawn = HandDrawnField((600, 520))
    for place in range(20):
        drawn.nucleus(60 + 90 * (place // 5), 60 + 120 * (place % 5), spots=THREE)
    field = field_of(drawn.channels())
    whole = classify_field(field, method="paper", tile_px=1024)
    assert len(whole.records) > 5
    assert classify_field(field, method="paper", tile_px=256, workers=2) == whole


def test_thresholds_of_a_run_repeat_it():
    field = field_of(one_of_each().channels())
    first = classify_field(field)
    assert classify_field(field, thresholds=first.thresholds) == first
    none_negative = replace(first.thresholds, cd45_threshold=-1000.0)
    assert classify_field(field, thresholds=none_negative).ctc_count == 0


def test_result_counts_and_tells_all():
    result = classify_field(field_of(one_of_each().channels(), name="drawn"))
    told = result.to_dict()
    assert result.ctc_count == told["ctc_count"] == 1
    assert next(iter(told["reasons"])) == "ctc"
    assert sum(told["reasons"].values()) == len(told["nuclei"]) == len(result.records)
    assert told["name"] == "drawn"
    assert told["thresholds"]["cd45_source"] in ("valley", "background")
    assert told["nuclei"][0]["spots_yx"] == [list(spot) for spot in result.records[0].spots_yx]


def test_progress_is_told_of_both_passes():
    seen = []

    def progress(items, description):
        seen.append((len(items), description))
        return items

    classify_field(field_of([np.zeros((300, 600), np.uint8)] * 3, name="f"), tile_px=256, progress=progress)
    assert seen == [(3, "f: levels"), (6, "f: nuclei")]


GOOD = np.zeros((64, 64), np.uint8)
NAN = np.full((64, 64), np.nan, np.float32)


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ((GOOD, GOOD, GOOD[:32]), r"channels of different size"),
        ((GOOD, GOOD, NAN), r"NaN"),
        ((GOOD[:0], GOOD[:0], GOOD[:0]), r"no pixels"),
    ],
)
def test_bad_pixels_are_refused(channels, message):
    with pytest.raises(ImageReadError, match=message):
        classify_nuclei(*channels)


def test_missing_cd45_names_the_cure():
    with pytest.raises(ValueError, match=r"no channel cd45 among dapi, cep8.*mode 'paper'"):
        classify_nuclei(GOOD, GOOD, None)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"tile_px": 1000}, "`tile_px` must be a multiple of 256. Received: 1000"),
        ({"workers": 0}, "`workers` must be at least 1. Received: 0"),
        ({"um_per_px": 0}, "`um_per_px` must be a positive number. Received: 0"),
        ({"um_per_px": -0.5}, "`um_per_px` must be a positive number. Received: -0.5"),
        ({"mode": "half"}, "`mode` must be one of full, paper. Received: 'half'"),
    ],
)
def test_bad_requests_are_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        classify_field(field_of([GOOD] * 3), **choice)


def test_thresholds_of_another_field_or_other_settings_are_refused():
    thresholds = classify_field(field_of([GOOD] * 3)).thresholds
    with pytest.raises(ValueError, match=r"a field of \(64, 64\) px, this one has \(64, 32\)"):
        classify_field(field_of([GOOD[:32]] * 3), thresholds=thresholds)
    with pytest.raises(ValueError, match="measured with other settings"):
        classify_field(field_of([GOOD] * 3), thresholds=thresholds, mode="paper")
    with pytest.raises(ValueError, match=r"`thresholds` were taken at 0\.25 um per pixel.*Received: 0\.5"):
        classify_nuclei(GOOD, GOOD, GOOD, thresholds=thresholds, um_per_px=0.5)


@pytest.mark.parametrize(("um_per_px", "expected"), [(0.25, 3.0), (1.0, 1.5), (0.05, 8.5)])
def test_width_of_signals_follows_the_size_of_a_pixel(um_per_px, expected):
    field = field_from_arrays(dict.fromkeys(NAMES, GOOD), um_per_px=um_per_px)
    assert classify_field(field).thresholds.spots.diameter_px == expected


def test_width_of_signals_can_be_left_to_the_image():
    settings = ImFISHSettings(spot_diameter_um=None)
    free = classify_field(field_of([GOOD] * 3), settings=settings).thresholds.spots.diameter_px
    assert free == classify_field(field_from_arrays(dict.fromkeys(NAMES, GOOD))).thresholds.spots.diameter_px != 3.0
