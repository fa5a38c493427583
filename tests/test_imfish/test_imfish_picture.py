from dataclasses import replace

import numpy as np
import pytest

from ctc_mm.imaging.io import field_from_arrays
from ctc_mm.imaging.overlay import LabelOutline
from ctc_mm.imaging.pictures import YELLOW, view_of
from ctc_mm.imfish import classify_field
from ctc_mm.imfish.picture import CHANNEL_COLOURS, _match, draw_imfish, verdict_look
from ctc_mm.imfish.records import CD45_POSITIVE, CTC, REJECTED, cep8_reason
from ctc_mm.phantoms.imfish import generate_imfish_field
from ctc_mm.phantoms.imfish_config import ImFISHPhantomConfig


@pytest.fixture(scope="module")
def field():
    phantom = generate_imfish_field(ImFISHPhantomConfig(image_wh=(700, 600)), np.random.default_rng(5))
    channels = dict(zip(phantom.channels, phantom.image_cyx, strict=True))
    return field_from_arrays(channels, name="phantom", um_per_px=phantom.um_per_px)


@pytest.fixture(scope="module")
def result(field):
    found = classify_field(field, workers=1)
    assert found.ctc_count >= 1
    return found


def blank(mode="full"):
    rng = np.random.default_rng(0)
    channels = {name: rng.poisson(200, (300, 320)).astype(np.uint16) for name in ("dapi", "cep8", "cd45")}
    field = field_from_arrays(channels, name="blank", um_per_px=0.25)
    return field, classify_field(field, mode=mode, workers=1)


@pytest.mark.parametrize("mode", ["full", "paper"])
def test_field_without_nuclei(mode):
    picture = draw_imfish(*blank(mode))
    assert picture.summary[0] == "nuclei: 0 shown of 0 in the field"
    assert "  ctc: 0" in picture.summary
    assert picture.summary[-1] == "CTCs in the whole field: 0"


@pytest.mark.parametrize(("shape", "dtype"), [((1, 1), np.uint8), ((60, 60), np.float32), ((300, 5), np.uint16)])
def test_constant_field_of_any_size_and_type(shape, dtype):
    planes = {name: np.full(shape, 7, dtype) for name in CHANNEL_COLOURS}
    field = field_from_arrays(planes, um_per_px=0.25)
    picture = draw_imfish(field, classify_field(field, workers=1))
    assert picture.summary[0] == "nuclei: 0 shown of 0 in the field"
    height = view_of(field).size_wh[1]
    assert picture.image_rgb.shape[0] > height
    assert not picture.image_rgb[:height, 320].any()  # black, in the middle of 640


def test_every_reason_has_a_look_of_its_own_without_colour():
    reasons = (CTC, CD45_POSITIVE, *REJECTED)
    letters = [verdict_look(reason)[0] for reason in (*reasons, cep8_reason(2))]
    assert len(set(letters)) == len(reasons) + 1
    assert verdict_look(cep8_reason(0)) == verdict_look(cep8_reason(2))
    # Not judged, CD45+ and judged differ by their lines too.
    assert len({verdict_look(reason)[2:] for reason in (CTC, CD45_POSITIVE, cep8_reason(1), "debris")}) == 4


def test_summary_counts_the_records(field, result):
    picture = draw_imfish(field, result)
    total = len(result.records)
    assert picture.summary[0] == f"nuclei: {total} shown of {total} in the field"
    for reason, count in result.reason_counts.items():
        assert f"  {reason}: {count}" in picture.summary
    signals = sum(record.cep8_count for record in result.records)
    assert f"CEP8 signals in nuclei: {signals}" in picture.summary
    assert picture.summary[-1] == f"CTCs in the whole field: {result.ctc_count}"


def test_ctcs_are_outlined_and_every_record_finds_its_nucleus(field, result):
    canvas = draw_imfish(field, result, zoom=1).image_rgb[:600, :700]
    yellow = (canvas == np.array(YELLOW, np.uint8)).all(axis=2)
    for record in result.records:
        x0, y0, x1, y1 = (round(value) for value in record.box_xyxy)
        assert (yellow[y0:y1, x0:x1].sum() > 2 * (x1 - x0)) == record.is_ctc


def test_channels_have_their_colours(result):
    planes = {name: np.full((600, 700), 100, np.uint16) for name in CHANNEL_COLOURS}
    for place, plane in enumerate(planes.values()):
        plane[300:320, 100 + 100 * place : 150 + 100 * place] = 4000
    nothing = replace(result, records=())
    canvas = draw_imfish(field_from_arrays(planes), nothing, zoom=1).image_rgb[:600, :700]
    for place, colour in enumerate(CHANNEL_COLOURS.values()):
        assert canvas[310, 125 + 100 * place].tolist() == list(colour)
    assert not canvas[:290].any()


def test_region_shows_the_verdicts_of_the_whole_field(field, result):
    ctc = next(record for record in result.records if record.is_ctc)
    x0, y0, x1, y1 = (round(value) for value in ctc.box_xyxy)
    region = (max(x0 - 60, 0), max(y0 - 60, 0), min(x1 + 60, 700), min(y1 + 60, 600))
    picture = draw_imfish(field, result, region_xyxy=region, zoom=2)
    shown = [record for record in result.records if _reaches(record.box_xyxy, region)]
    assert picture.summary[0] == f"nuclei: {len(shown)} shown of {len(result.records)} in the field"
    assert picture.summary[-1] == f"CTCs in the whole field: {result.ctc_count}"
    whole = draw_imfish(field, result, zoom=2).image_rgb
    width, height = 2 * (region[2] - region[0]), 2 * (region[3] - region[1])
    left = max(640 - width, 0) // 2
    part = picture.image_rgb[:height, left : left + width]
    around = np.array([[y0 - region[1], y1 - region[1]], [x0 - region[0], x1 - region[0]]]) * 2
    rows, columns = (slice(*ends) for ends in around)
    inner = whole[2 * region[1] :, 2 * region[0] :][rows, columns]
    assert (inner == np.array(YELLOW, np.uint8)).all(axis=2).sum() > 100
    assert (inner == part[rows, columns]).all()


def _reaches(box_xyxy, region):
    x0, y0, x1, y1 = box_xyxy
    return x0 < region[2] and x1 > region[0] and y0 < region[3] and y1 > region[1]


def test_paper_mode_needs_no_cd45(field):
    dapi, cep8 = field.read(["dapi", "cep8"])
    two = field_from_arrays({"dapi": dapi, "cep8": cep8}, um_per_px=0.25)
    result = classify_field(two, mode="paper", workers=1)
    picture = draw_imfish(two, result)
    assert f"  ctc: {result.ctc_count}" in picture.summary
    assert not any("cd45" in line for line in picture.summary)


def test_record_without_an_outline_is_drawn_as_its_box_and_the_reverse_is_said(result):
    record = result.records[0]
    box = tuple(round(value) for value in record.box_xyxy)
    drawn, sentences = _match([record], [], (0, 0, 700, 600))
    assert [(one.box_xyxy, bool(one.mask.all())) for _, one in drawn] == [(box, True)]
    assert sentences == []
    stranger = LabelOutline(1, np.ones((3, 3), bool), (10, 10))
    assert _match([], [stranger], (0, 0, 700, 600)) == ([], ["1 nuclei without a verdict are not drawn."])
    assert _match([], [stranger], (100, 100, 700, 600)) == ([], [])


def test_same_picture_twice(field, result):
    one, two = (draw_imfish(field, result, zoom=1) for _ in range(2))
    assert one.image_rgb.tobytes() == two.image_rgb.tobytes()


def test_result_of_another_field_is_refused(result):
    with pytest.raises(ValueError, match=r"result is of a field of \(700, 600\) px"):
        draw_imfish(blank()[0], result)
