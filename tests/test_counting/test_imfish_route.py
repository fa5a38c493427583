import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cell_slides import count, spec_of, spoil_tile, write_slide, write_tiled

import ctc_mm.counting.nucleus_scores as nucleus_scores
from ctc_mm.counting.engines.base import CLASSIFIER, Described, ModelInfo
from ctc_mm.counting.imfish import ImFISHRoute
from ctc_mm.counting.records import AnalysedArea, SlideSpec
from ctc_mm.counting.route import TileTask
from ctc_mm.errors import ConfigError, ImageReadError, SlideError
from ctc_mm.imaging.field import field_from_arrays
from ctc_mm.imaging.field_list import FieldSource
from ctc_mm.imfish import classify_field
from ctc_mm.phantoms import ImFISHPhantomConfig, generate_imfish_field

sys.path.insert(0, str(Path(__file__).parents[1] / "test_imfish"))
from imfish_images import one_of_each  # noqa: E402

NAMES = ("dapi", "cep8", "cd45")
SIZE = (900, 800)


@pytest.fixture(scope="module")
def phantom():
    return generate_imfish_field(ImFISHPhantomConfig(image_wh=SIZE), np.random.default_rng(5))


@pytest.fixture(scope="module")
def slide(phantom, tmp_path_factory):
    return write_slide(tmp_path_factory.mktemp("imfish") / "phantom.ome.tif", phantom.image_cyx, NAMES)


@pytest.fixture(scope="module")
def whole(slide):
    return count(ImFISHRoute({"tile_px": 4096, "threads": 1}), spec_of(slide))


@pytest.mark.parametrize("size_wh", [(300, 200), (1, 300), (1, 1)])
@pytest.mark.parametrize("value", [0, 1000])
def test_an_empty_slide_has_no_cell_and_is_looked_at_whole(tmp_path, size_wh, value):
    planes = np.full((3, *size_wh[::-1]), value, np.uint16)
    found = count(ImFISHRoute({}), spec_of(write_slide(tmp_path / "empty.ome.tif", planes, NAMES)))
    assert found.cells == ()
    assert found.counts == {"CTC": 0, "non-CTC": 0, "debris": 0, "unidentified": 0}
    assert found.area == AnalysedArea(size_wh[0] * size_wh[1])
    assert found.is_complete
    assert (found.drops, found.overview.rgb.shape) == ((), (*size_wh[::-1], 3))


@pytest.mark.parametrize(("tile_px", "threads"), [(256, 3), (512, 1), (1000, 2)])
def test_tiles_and_threads_change_no_bit(slide, whole, tile_px, threads):
    found = count(ImFISHRoute({"tile_px": tile_px, "threads": threads}), spec_of(slide))
    assert len(found.cells) > 30
    assert found.cells == whole.cells
    assert found.thresholds == whole.thresholds
    assert found.settings == whole.settings


def test_a_tile_gives_the_same_whatever_else_is_measured(slide):
    route = ImFISHRoute({"tile_px": 512})
    plan = route.plan(spec_of(slide))
    first = route.first_pass(plan)
    every = list(route.measure(TileTask(plan, first, tile) for tile in range(plan.n_tiles)))
    again = list(ImFISHRoute({"tile_px": 512}).measure([TileTask(plan, first, 3), TileTask(plan, first, 1)]))
    assert again == [every[3], every[1]]


def test_the_verdicts_are_those_of_the_rule_on_arrays(phantom, whole):
    with field_from_arrays(dict(zip(NAMES, phantom.image_cyx, strict=True)), um_per_px=0.25) as field:
        result = classify_field(field, workers=1)
    by_box = {record.box_xyxy: record for record in result.records}
    assert {cell.box_xyxy for cell in whole.cells} == set(by_box)
    for cell in whole.cells:
        record = by_box[cell.box_xyxy]
        assert (cell.columns["reason"], cell.columns["cep8_count"]) == (record.reason, record.cep8_count)
        assert (cell.class_name == "CTC") == record.is_ctc
        middle = (cell.columns["centroid_y"], cell.columns["centroid_x"])
        assert middle == pytest.approx(record.centroid_yx, abs=1e-3)
        assert cell.diameter_um == pytest.approx(2 * np.sqrt(record.area_um2 / np.pi), abs=1e-4)
    assert whole.counts["CTC"] == result.ctc_count > 3
    assert whole.thresholds["cd45_threshold"] == result.thresholds.cd45_threshold


def test_what_the_rule_cannot_judge_is_shown_as_unidentified(tmp_path):
    path = write_slide(tmp_path / "each.ome.tif", one_of_each().channels(), NAMES)
    found = count(ImFISHRoute({"min_dapi": 0.05}), spec_of(path))
    classes = {cell.columns["reason"]: cell.class_name for cell in found.cells}
    assert classes == {
        "ctc": "CTC", "cd45_positive": "non-CTC", "cep8_0": "non-CTC", "cep8_1": "non-CTC", "cep8_2": "non-CTC",
        "debris": "debris", "out_of_focus": "unidentified", "border": "unidentified", "overlap": "unidentified",
        "aggregate": "unidentified",
    }  # fmt: skip
    assert found.counts["CTC"] == 1
    assert all(cell.flags == (cell.columns["reason"],) for cell in found.cells if cell.class_name == "unidentified")
    (ctc,) = (cell for cell in found.cells if cell.class_name == "CTC")
    assert ctc.flags == ()
    assert ctc.centre_xy == pytest.approx((60.5, 60.5), abs=1)
    (outline,) = ctc.outlines_xy
    x, y = np.array(outline).T
    assert np.abs([x.min(), y.min(), x.max(), y.max()] - np.array(ctc.box_xyxy)).max() <= 0.75
    assert "at least 3 CEP8 signals" in found.definition
    assert "CD45-negative" in found.definition


def test_8_bits_and_16_bits_give_the_same_cells(phantom, tmp_path):
    eight = (phantom.image_cyx[:, :500, :500] // 16).astype(np.uint8)
    found = [
        count(ImFISHRoute({}), spec_of(write_slide(tmp_path / f"{name}.ome.tif", planes, NAMES)))
        for name, planes in (("eight", eight), ("sixteen", eight.astype(np.uint16) * 257))
    ]
    assert [cell.box_xyxy for cell in found[0].cells] == [cell.box_xyxy for cell in found[1].cells]
    assert [cell.columns["reason"] for cell in found[0].cells] == [cell.columns["reason"] for cell in found[1].cells]


def test_a_slide_without_pixel_size_is_measured_by_its_nuclei(phantom, tmp_path):
    path = write_tiled(tmp_path / "unknown.tif", phantom.image_cyx)
    spec = spec_of(path, channels={"dapi": 0, "cep8": 1, "cd45": 2})
    found = count(ImFISHRoute({}), spec)
    assert found.um_per_px_source == "nuclei"
    assert found.um_per_px == pytest.approx(0.25, rel=0.15)
    assert any("give --um-per-px" in note.replace("Give", "give") for note in found.notes)
    assert {cell.diameter_um for cell in found.cells} == {None}
    given = count(ImFISHRoute({}), spec_of(path, channels=dict(spec.source.channels), um_per_px=0.25))
    assert (given.um_per_px, given.um_per_px_source, given.notes) == (0.25, "given", ())


@pytest.mark.parametrize("um_per_px", [0.00025, 0.02, 1.7, 250.0])
def test_a_pixel_size_in_another_unit_is_refused(phantom, tmp_path, um_per_px):
    path = write_tiled(tmp_path / "slide.tif", phantom.image_cyx[:, :300, :300])
    spec = spec_of(path, channels={"dapi": 0, "cep8": 1, "cd45": 2}, um_per_px=um_per_px)
    with pytest.raises(SlideError, match=rf"of {um_per_px:g} um per px: nuclei of 5 to 25 um would be .* px wide"):
        ImFISHRoute({}).plan(spec)


def test_channels_are_found_by_the_names_in_the_file(phantom, whole, tmp_path):
    path = write_slide(tmp_path / "named.ome.tif", phantom.image_cyx[[2, 0, 1]], ("CD45", "DAPI", "CEP8"))
    found = count(ImFISHRoute({}), spec_of(path))
    assert found.cells == whole.cells
    assert found.channels == NAMES


def test_upper_case_is_lower_case_also_where_channels_are_given(phantom, tmp_path):
    planes = phantom.image_cyx[:, :300, :300]
    path = write_tiled(tmp_path / "one.tif", planes)
    given = {"DAPI": 0, "CEP8": 1, "CD45": 2}
    lower = {name.lower(): place for name, place in given.items()}
    expected = count(ImFISHRoute({}), spec_of(path, channels=lower, um_per_px=0.25)).cells
    assert expected
    assert count(ImFISHRoute({}), spec_of(path, channels=given, um_per_px=0.25)).cells == expected
    paths = {name: write_tiled(tmp_path / f"{name}.tif", [planes[place]]) for name, place in given.items()}
    source = FieldSource("slide", "DAPI.tif", paths)
    assert count(ImFISHRoute({}), SlideSpec("slide", source, um_per_px=0.25)).cells == expected


def test_a_missing_channel_is_named_with_the_cure(phantom, tmp_path):
    path = write_slide(tmp_path / "two.ome.tif", phantom.image_cyx[:2, :300, :300], NAMES[:2])
    with pytest.raises(
        SlideError, match=r"slide: no channel cd45 among dapi, cep8; .*or in column channels of .*only mode 'paper'"
    ):
        ImFISHRoute({}).plan(spec_of(path))
    found = count(ImFISHRoute({"mode": "paper"}), spec_of(path))
    assert found.channels == ("dapi", "cep8")
    assert {cell.columns["cd45"] for cell in found.cells} == {None}
    assert "no other criterion" in found.definition


def test_other_ways_to_find_nuclei_take_the_slide_as_one_tile(phantom, tmp_path):
    path = write_slide(tmp_path / "paper.ome.tif", phantom.image_cyx[:, :600, :600], NAMES)
    route = ImFISHRoute({"method": "paper", "tile_px": 256})
    assert route.plan(spec_of(path)).n_tiles == 1
    found = count(route, spec_of(path))
    assert len(found.cells) > 5
    assert found.overview.rgb[..., 2].max() == 255  # DAPI is drawn, though no level of it is needed


@pytest.fixture(scope="module")
def damaged(phantom, tmp_path_factory):
    """One block of CEP8 cannot be read."""
    path = write_tiled(tmp_path_factory.mktemp("damaged") / "damaged.tif", phantom.image_cyx)
    spoil_tile(path, 4 + 2, page=1)  # four tiles a row: x 512 to 768, y 256 to 512
    return spec_of(path, channels={"dapi": 0, "cep8": 1, "cd45": 2}, um_per_px=0.25)


def test_a_damaged_block_costs_its_cells_and_no_others(damaged, whole):
    found = count(ImFISHRoute({}), damaged)
    x0, y0, x1, y1 = block = (512, 256, 768, 512)
    lost, touching = found.drops
    assert (lost.kind, lost.count, lost.area_px, lost.regions_xyxy) == ("block", 1, 256 * 256, (block,))
    assert "damaged.tif" in lost.reason
    assert (touching.kind, touching.area_px) == ("cell", 0)
    assert found.area == AnalysedArea(SIZE[0] * SIZE[1] - 256 * 256, dropped_px=256 * 256)
    assert not found.is_complete
    far = 60
    inside = [c for c in whole.cells if x0 < c.centre_xy[0] < x1 and y0 < c.centre_xy[1] < y1]
    assert inside
    expected = {
        cell.box_xyxy
        for cell in whole.cells
        if not (x0 - far < cell.centre_xy[0] < x1 + far and y0 - far < cell.centre_xy[1] < y1 + far)
    }
    boxes = {cell.box_xyxy for cell in found.cells}
    assert len(expected - boxes) <= 1  # the levels are those of the rest
    assert not boxes & {cell.box_xyxy for cell in inside}
    known = {cell.box_xyxy: cell.class_name for cell in whole.cells}
    assert np.mean([cell.class_name == known.get(cell.box_xyxy) for cell in found.cells]) > 0.95


def test_damage_is_the_same_however_the_slide_is_cut(damaged):
    one = count(ImFISHRoute({"tile_px": 2048, "threads": 1}), damaged)
    other = count(ImFISHRoute({"tile_px": 512, "threads": 3}), damaged)
    assert (other.cells, other.drops, other.thresholds) == (one.cells, one.drops, one.thresholds)


def test_what_could_be_read_at_first_and_not_later_fails_the_slide(damaged):
    route = ImFISHRoute({"tile_px": 512})
    plan = route.plan(damaged)
    first = route.first_pass(plan)
    first.levels["losses"]["damaged_xyxy"] = []
    results = list(ImFISHRoute({"tile_px": 512}).measure(TileTask(plan, first, tile) for tile in (0, 1)))
    assert [one.error is not None for one in results].count(True) >= 1
    assert "check the disk or the network" in next(one.error for one in results if one.error)


def test_pixels_that_are_not_finite_are_lost_as_a_block(phantom, tmp_path):
    planes = phantom.image_cyx[:, :600, :600].astype(np.float32)
    planes[0, 300, 300] = np.nan
    found = count(ImFISHRoute({}), spec_of(write_slide(tmp_path / "nan.ome.tif", planes, NAMES)))
    assert found.drops[0].regions_xyxy == ((256, 256, 512, 512),)
    assert "not finite" in found.drops[0].reason


def test_a_file_that_is_no_image_is_an_error(tmp_path):
    path = tmp_path / "text.tif"
    path.write_text("no image")
    with pytest.raises(ImageReadError, match=r"text\.tif"):
        ImFISHRoute({}).plan(spec_of(path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_signal": 3}, "takes no setting min_signal; it takes .*min_signals"),
        ({"min_signals": 0}, "`min_signals` must be"),
        ({"tile_px": 0}, "`tile_px` must be a whole number above 0. Received: 0"),
        ({"threads": 1.5}, "`threads` must be"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ImFISHRoute(settings)


def test_the_rule_alone_needs_no_framework():
    code = "import sys, ctc_mm.counting.imfish as route; route.ImFISHRoute({}); "
    code += "print([name for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_how_the_work_is_cut_is_no_part_of_the_identity():
    identity = ImFISHRoute({"tile_px": 512, "threads": 4, "min_signals": 4}).identity()
    assert identity == ImFISHRoute({"min_signals": 4, "mode": None}).identity()
    assert identity != ImFISHRoute({}).identity()


class BrightSpots(Described):
    """A classifier without a network: the brightest pixel says how likely a CTC is."""

    engine, device = "brightest", "cpu"

    def __init__(self, batch_size=8, **changes):
        facts = {
            "kind": CLASSIFIER, "name": "bright", "classes": ("non-CTC", "CTC"), "target": "CTC",
            "thresholds": {"youden": 0.5}, "um_per_px": 0.25, "channel": "cep8", "temperature": 0.5,
            "white_level": 4095.0,
        }  # fmt: skip
        self.info, self.batch_size, self.batches = ModelInfo(**(facts | changes)), batch_size, []

    def prepare(self, image, white_level=None):
        assert image.ndim == 2
        return np.full((3, 4, 4), image.max() / white_level, np.float32)

    def __call__(self, batch):
        assert 1 <= len(batch) <= self.batch_size
        self.batches.append(len(batch))
        likely = np.clip(batch[:, 0, 0, 0], 0, 1)
        return np.stack([1 - likely, likely], axis=1)


@pytest.fixture
def network(monkeypatch):
    engine = BrightSpots()
    monkeypatch.setattr(nucleus_scores, "build_classifier_engine", lambda settings: engine)
    return engine


def test_a_network_scores_every_nucleus_and_changes_no_verdict(slide, whole, network, phantom):
    found = count(ImFISHRoute({"model": "cnn.onnx", "tile_px": 512}), spec_of(slide))
    assert [cell.class_name for cell in found.cells] == [cell.class_name for cell in whole.cells]
    assert max(network.batches) == network.batch_size
    assert network.batches.count(network.batch_size) == len(network.batches) - 1  # filled across tiles
    threshold = found.thresholds["cnn_threshold"]
    assert threshold == pytest.approx(0.5)
    for cell in found.cells:
        x0, y0, x1, y1 = map(int, cell.box_xyxy)
        raw = phantom.image_cyx[1, y0:y1, x0:x1].max() / 4095
        odds = (raw / (1 - raw)) ** 2  # temperature 0.5
        assert cell.columns["cnn_score"] == pytest.approx(odds / (1 + odds), abs=1e-3)
        judged = cell.class_name in ("CTC", "non-CTC")
        differs = (cell.columns["cnn_score"] >= threshold) != (cell.class_name == "CTC")
        assert ("cnn_disagrees" in cell.flags) == (judged and differs)
    assert (found.model["name"], found.model["engine"], found.model["device"]) == ("bright", "brightest", "cpu")
    assert "cnn_score" not in whole.cells[0].columns


@pytest.mark.parametrize("batch_size", [1, 64])
def test_batches_and_tiles_change_no_score(slide, network, monkeypatch, batch_size):
    one = count(ImFISHRoute({"model": "cnn.onnx"}), spec_of(slide))
    monkeypatch.setattr(network, "batch_size", batch_size)
    other = count(ImFISHRoute({"model": "cnn.onnx", "tile_px": 512, "threads": 3}), spec_of(slide))
    assert other.cells == one.cells


def test_a_network_of_another_pixel_size_channel_or_rule_is_refused(slide, monkeypatch):
    def use(**changes):
        monkeypatch.setattr(nucleus_scores, "build_classifier_engine", lambda settings: BrightSpots(**changes))

    use(um_per_px=0.5)
    with pytest.raises(SlideError, match=r"0\.25 um per px, the model was trained at 0\.5"):
        ImFISHRoute({"model": "cnn.onnx"}).plan(spec_of(slide))
    use(channel="her2")
    with pytest.raises(SlideError, match="trained on channel her2, the slide has dapi, cep8, cd45"):
        ImFISHRoute({"model": "cnn.onnx"}).plan(spec_of(slide))
    use()
    with pytest.raises(ConfigError, match="no threshold by rule 'wanted_fpr'; it has youden"):
        ImFISHRoute({"model": "cnn.onnx", "rule": "wanted_fpr"})
