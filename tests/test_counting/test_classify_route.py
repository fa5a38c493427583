import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from cell_slides import count, spec_of, spoil_tile, write_slide, write_tiled

import ctc_mm.counting.classify as classify
from ctc_mm.counting.classify import NO_THRESHOLD, ClassifyRoute
from ctc_mm.counting.engines.base import CLASSIFIER, Described, ModelInfo
from ctc_mm.counting.records import AnalysedArea
from ctc_mm.counting.route import TileTask
from ctc_mm.errors import ConfigError, SlideError
from ctc_mm.imaging.cell_crops import crop_cell, normalize_crop
from ctc_mm.imaging.cells import measure_cells, segment_cells
from ctc_mm.phantoms import BrightfieldPhantomConfig, ImFISHPhantomConfig, generate_field, generate_imfish_field

sys.path.insert(0, str(Path(__file__).parent / "test_engines"))
sys.path.insert(0, str(Path(__file__).parents[1] / "test_engine"))

UM, CELLS_UM, CROP_PX = 1.0, (6.0, 20.0), 24
# Windows of 640 px every 512: two by two on the slide.
SIZE = (800, 680)
SETTINGS = {"model": "cells.onnx", "max_cell_um": CELLS_UM[1], "crop_px": CROP_PX, "crop_normalize": "no"}


class MeanOfCrop(Described):
    """A classifier without a network: the mean grey value over white says how likely a CTC is."""

    engine, device = "mean", "cpu"

    def __init__(self, batch_size=16, **changes):
        facts = {
            "kind": CLASSIFIER, "name": "mean", "classes": ("CTC", "WBC"), "target": "CTC",
            "thresholds": {"youden": 0.57}, "um_per_px": UM, "channel": "brightfield", "temperature": 2.0,
        }  # fmt: skip
        self.info, self.batch_size = ModelInfo(**(facts | changes)), batch_size
        self.batches, self.shapes = [], set()

    def prepare(self, image, white_level=None):
        self.shapes.add((image.shape, image.dtype.name))
        return np.full((3, 2, 2), image.mean(dtype=np.float64) / white_level, np.float32)

    def __call__(self, batch):
        assert 1 <= len(batch) <= self.batch_size
        self.batches.append(len(batch))
        likely = batch[:, 0, 0, 0]
        return np.stack([likely, 1 - likely], axis=1)


@pytest.fixture
def network(monkeypatch):
    """Makes routes use the engine that the test has set up."""

    def use(**changes):
        engine = MeanOfCrop(**changes)
        monkeypatch.setattr(classify, "build_classifier_engine", lambda settings: engine)
        return engine

    use()
    return use


@pytest.fixture(scope="module")
def image():
    config = BrightfieldPhantomConfig(
        image_wh=SIZE, um_per_px=UM, ctc_count=(20, 20), wbc_count=(130, 130), debris_count=(10, 10)
    )
    return generate_field(config, np.random.default_rng(3), blank=False).image


@pytest.fixture(scope="module")
def slide(image, tmp_path_factory):
    return write_slide(tmp_path_factory.mktemp("classify") / "field.ome.tif", [image], ["brightfield"], UM)


@pytest.fixture(scope="module")
def whole(slide):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classify, "build_classifier_engine", lambda settings: MeanOfCrop())
        return count(ClassifyRoute({**SETTINGS, "tile_px": 4096, "threads": 1}), spec_of(slide))


@pytest.mark.parametrize("size_wh", [(300, 200), (1, 300), (1, 1)])
@pytest.mark.parametrize("skip", [True, False])
def test_an_empty_slide_has_no_cell_and_is_accounted_for_whole(tmp_path, network, size_wh, skip):
    path = write_slide(tmp_path / "empty.ome.tif", np.full((1, *size_wh[::-1]), 170, np.uint8), ["brightfield"], UM)
    found = count(ClassifyRoute({**SETTINGS, "skip_background": skip}), spec_of(path))
    pixels = size_wh[0] * size_wh[1]
    assert found.cells == ()
    assert found.counts == {"CTC": 0, "WBC": 0, "unidentified": 0}
    assert found.area == AnalysedArea(0, background_px=pixels) if skip else AnalysedArea(pixels)


@pytest.mark.parametrize(("tile_px", "threads", "batch_size"), [(512, 3, 7), (1024, 1, 64)])
def test_tiles_threads_and_batches_change_nothing(slide, whole, network, tile_px, threads, batch_size):
    engine = network(batch_size=batch_size)
    route = ClassifyRoute({**SETTINGS, "tile_px": tile_px, "threads": threads})
    assert route.plan(spec_of(slide)).n_tiles == 4 if tile_px < 1024 else 1
    found = count(route, spec_of(slide))
    assert len(found.cells) > 110
    assert found.cells == whole.cells
    assert (found.thresholds, found.settings, found.removals) == (whole.thresholds, whole.settings, whole.removals)
    assert engine.batches.count(batch_size) >= len(engine.batches) - 1  # filled across tiles


def test_a_tile_gives_the_same_whatever_else_is_measured(slide, network):
    route = ClassifyRoute({**SETTINGS, "tile_px": 512})
    plan = route.plan(spec_of(slide))
    first = route.first_pass(plan)
    every = list(route.measure(TileTask(plan, first, tile) for tile in range(4)))
    assert list(route.measure([TileTask(plan, first, 3), TileTask(plan, first, 0)])) == [every[3], every[0]]


def test_the_cells_are_those_of_the_field_in_one_piece_and_cut_as_for_training(image, whole, slide, network):
    labels = segment_cells(image, um_per_px=UM, diameter_um=CELLS_UM)
    cells = {cell.box_xyxy: cell for cell in measure_cells(labels, image, UM, CELLS_UM)}
    boxes = {tuple(map(int, cell.box_xyxy)) for cell in whole.cells}
    assert len(boxes & set(cells)) >= 0.98 * max(len(boxes), len(cells))
    assert len(boxes) == len(whole.cells)
    assert whole.removals["other_window"] > 5  # seen by two windows
    assert whole.removals["seam_duplicate"] <= 2
    same = [cell for cell in whole.cells if tuple(map(int, cell.box_xyxy)) in cells]
    for cell in same:
        expected = cells[tuple(map(int, cell.box_xyxy))]
        assert cell.diameter_um == pytest.approx(expected.diameter_um, abs=1e-4)
        crop = crop_cell(image, expected.centroid_yx, CROP_PX)
        assert cell.columns["probability"] == pytest.approx(crop.pixels.mean() / 255, abs=1e-5)
    flagged = [(cell.flags, tuple(sorted(cells[tuple(map(int, cell.box_xyxy))].reasons))) for cell in same]
    assert np.mean([ours == theirs for ours, theirs in flagged]) > 0.98

    found = count(ClassifyRoute({**SETTINGS, "crop_normalize": "cells"}), spec_of(slide))
    for cell in (one for one in found.cells if tuple(map(int, one.box_xyxy)) in cells):
        crop = crop_cell(image, cells[tuple(map(int, cell.box_xyxy))].centroid_yx, CROP_PX)
        mean = normalize_crop(crop, labels).mean() / 255
        assert cell.columns["probability"] == pytest.approx(mean, abs=5e-3)


def test_a_cell_is_called_by_its_probability_and_what_is_no_single_cell_is_shown(whole):
    assert {cell.class_name for cell in whole.cells} == {"CTC", "WBC", "unidentified"}
    for cell in whole.cells:
        raw = cell.columns["probability"]
        odds = (raw / (1 - raw)) ** 0.5  # temperature 2
        assert cell.score == pytest.approx(odds / (1 + odds), abs=1e-4)
        if cell.flags:
            assert cell.class_name == "unidentified"
        else:
            assert cell.class_name == ("CTC" if raw >= 0.57 else "WBC")
    assert whole.thresholds["probability"] == 0.57
    assert whole.thresholds["probability_calibrated"] == pytest.approx(0.57**0.5 / (0.57**0.5 + 0.43**0.5), abs=1e-6)
    assert whole.classes == ("CTC", "WBC", "unidentified")
    assert "probability of CTC of 0.57 or more" in whole.definition
    on_edge = [c for c in whole.cells if c.box_xyxy[0] == 0 or c.box_xyxy[3] == SIZE[1]]
    assert on_edge
    assert all("border" in cell.flags for cell in on_edge)


def test_doubtful_cells_are_unidentified(slide, whole, network):
    found = count(ClassifyRoute({**SETTINGS, "doubt": 0.95}), spec_of(slide))
    doubtful = [cell for cell in found.cells if cell.flags == ("doubtful",)]
    assert doubtful
    assert {cell.class_name for cell in doubtful} == {"unidentified"}
    assert all(0.95 * 0.57 <= cell.columns["probability"] < 0.57 for cell in doubtful)
    assert found.counts["CTC"] == whole.counts["CTC"]
    assert found.counts["WBC"] == whole.counts["WBC"] - len(doubtful)


def test_of_several_other_classes_the_likeliest_is_named(slide, network, monkeypatch):
    engine = network(classes=("WBC", "CTC", "RBC"), thresholds={"youden": 2.0})
    monkeypatch.setattr(
        type(engine), "__call__", lambda self, batch: np.tile(np.float32([0.2, 0.5, 0.3]), (len(batch), 1))
    )
    found = count(ClassifyRoute(SETTINGS), spec_of(slide))
    assert found.classes == ("CTC", "WBC", "RBC", "unidentified")
    assert found.counts["RBC"] > 100
    assert found.counts["CTC"] == found.counts["WBC"] == 0


def test_the_rule_chooses_the_threshold(slide, network):
    network(thresholds={"youden": 0.7, "wanted_fpr": 0.9})
    assert ClassifyRoute({**SETTINGS, "rule": "wanted_fpr"}).threshold == 0.9
    with pytest.raises(ConfigError, match="no threshold by the rule 'wanted_sensitivity'; it has youden, wanted_fpr"):
        ClassifyRoute({**SETTINGS, "rule": "wanted_sensitivity"})
    network(thresholds={}, temperature=None)
    route = ClassifyRoute(SETTINGS)
    assert route.threshold == 0.5
    found = count(route, spec_of(slide))
    assert NO_THRESHOLD in found.notes
    assert found.cells[0].score == found.cells[0].columns["probability"]


def test_background_windows_are_skipped_and_accounted_for(image, tmp_path, network):
    half = image.copy()
    half[:, 400:] = np.random.default_rng(0).normal(np.median(image), 2, half[:, 400:].shape).astype(np.uint8)
    path = write_slide(tmp_path / "half.ome.tif", [half], ["brightfield"], UM)
    skipped = count(ClassifyRoute(SETTINGS), spec_of(path))
    every = count(ClassifyRoute({**SETTINGS, "skip_background": False}), spec_of(path))
    # The right windows begin at 512: their cores hold the columns from 576 on.
    assert skipped.area == AnalysedArea(576 * SIZE[1], background_px=(SIZE[0] - 576) * SIZE[1])
    assert every.area == AnalysedArea(SIZE[0] * SIZE[1])
    assert len(skipped.cells) > 50
    assert skipped.cells == every.cells


def test_another_pixel_size_is_refused_or_resampled(image, whole, tmp_path, network):
    fine = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    path = write_slide(tmp_path / "fine.ome.tif", [fine], ["brightfield"], UM / 2)
    with pytest.raises(SlideError, match=r"0\.5 um per px, the model was trained at 1: .*--resample"):
        ClassifyRoute(SETTINGS).plan(spec_of(path))
    found = count(ClassifyRoute({**SETTINGS, "resample": True}), spec_of(path))
    assert (found.size_wh, found.um_per_px) == ((1600, 1360), 0.5)
    assert found.area == AnalysedArea(1600 * 1360)
    assert len(found.cells) == pytest.approx(len(whole.cells), rel=0.05)
    ours = np.array([cell.centre_xy for cell in found.cells]) / 2
    theirs = np.array([cell.centre_xy for cell in whole.cells])
    nearest = np.sqrt(((ours[:, None] - theirs[None]) ** 2).sum(axis=2)).min(axis=1)
    assert np.percentile(nearest, 90) < 1.5
    assert np.median([c.diameter_um for c in found.cells]) == pytest.approx(
        np.median([c.diameter_um for c in whole.cells]), rel=0.05
    )


def test_the_pixel_size_has_to_be_known(image, whole, tmp_path, network):
    network(um_per_px=None)
    path = write_tiled(tmp_path / "unknown.tif", [image])
    with pytest.raises(SlideError, match=r"does not say its pixel size.*the size of cells in um.*--um-per-px"):
        ClassifyRoute(SETTINGS).plan(spec_of(path))
    found = count(ClassifyRoute(SETTINGS), spec_of(path, um_per_px=UM))
    assert [cell.box_xyxy for cell in found.cells] == [cell.box_xyxy for cell in whole.cells]
    assert found.um_per_px_source == "given"
    with pytest.raises(SlideError, match=r"slide of 3 um per px: the smallest cell must be at least 4 px.*--um-per-px"):
        ClassifyRoute(SETTINGS).plan(spec_of(path, um_per_px=3.0))


def test_8_bits_16_bits_and_colour_give_the_same_cells(image, whole, tmp_path, network):
    engine = network()
    deep = write_slide(tmp_path / "deep.ome.tif", [image.astype(np.uint16) * 257], ["brightfield"], UM)
    found = count(ClassifyRoute(SETTINGS), spec_of(deep))
    assert [cell.box_xyxy for cell in found.cells] == [cell.box_xyxy for cell in whole.cells]
    assert [cell.class_name for cell in found.cells] == [cell.class_name for cell in whole.cells]
    cv2.imwrite(str(tmp_path / "colour.png"), np.repeat(image[..., None], 3, axis=2))
    colour = count(ClassifyRoute(SETTINGS), spec_of(tmp_path / "colour.png", um_per_px=UM))
    assert [cell.box_xyxy for cell in colour.cells] == [cell.box_xyxy for cell in whole.cells]
    assert ((CROP_PX, CROP_PX, 3), "uint8") in engine.shapes
    assert ((CROP_PX, CROP_PX), "uint16") in engine.shapes


def test_the_channel_is_chosen_by_name(image, whole, tmp_path, network):
    other = np.zeros_like(image)
    path = write_slide(tmp_path / "two.ome.tif", [other, image], ["dapi", "Bright-Field"], UM)
    found = count(ClassifyRoute(SETTINGS), spec_of(path))
    assert found.cells == whole.cells
    network(channel="her2")
    with pytest.raises(SlideError, match="trained on channel her2, and none of the slide's .*dapi, Bright-Field"):
        ClassifyRoute(SETTINGS).plan(spec_of(path))


def test_where_the_model_sees_dapi_nuclei_are_cut(tmp_path, network):
    engine = network(channel="dapi", um_per_px=0.25, thresholds={"youden": 0.1})
    phantom = generate_imfish_field(ImFISHPhantomConfig(image_wh=(900, 640)), np.random.default_rng(2))
    path = write_slide(tmp_path / "nuclei.ome.tif", phantom.image_cyx, ["dapi", "cep8", "cd45"])
    settings = {"model": "x.onnx", "crop_um": 20.0, "min_cell_um": 5.0, "max_cell_um": 25.0}
    found = count(ClassifyRoute(settings), spec_of(path))
    assert engine.shapes == {((80, 80), "uint16")}
    truth = phantom.truth
    single = truth.centroids_yx[truth.is_interpretable][:, ::-1]
    centres = np.array([cell.centre_xy for cell in found.cells])
    distances = np.sqrt(((single[:, None] - centres[None]) ** 2).sum(axis=2)).min(axis=1)
    assert (distances < 4).mean() > 0.9
    assert found.counts["CTC"] + found.counts["WBC"] > 0.5 * len(single)
    assert found.definition.startswith("nucleus, 5 to 25 um across")


@pytest.fixture(scope="module")
def damaged(image, tmp_path_factory):
    path = write_tiled(tmp_path_factory.mktemp("spoilt") / "damaged.tif", [image])
    spoil_tile(path, 4 + 1)  # four tiles a row: x and y from 256 to 512
    return spec_of(path, um_per_px=UM)


def test_a_damaged_block_costs_its_cells_and_no_others(damaged, whole, network):
    found = count(ClassifyRoute({**SETTINGS, "threads": 1}), damaged)
    lost, touching = found.drops
    assert (lost.kind, lost.area_px, lost.regions_xyxy) == ("block", 256 * 256, ((256, 256, 512, 512),))
    assert touching.kind == "cell"
    assert found.area == AnalysedArea(SIZE[0] * SIZE[1] - 256 * 256, dropped_px=256 * 256)
    near = [c for c in whole.cells if all(256 - 90 < value < 512 + 90 for value in c.centre_xy)]
    expected = {cell.box_xyxy for cell in whole.cells if cell not in near}
    boxes = {cell.box_xyxy for cell in found.cells}
    # The levels are those of the rest: an outline may lie a pixel further.
    found_at = np.array([cell.centre_xy for cell in found.cells])
    apart = [np.hypot(*(found_at - cell.centre_xy).T).min() for cell in whole.cells if cell.box_xyxy in expected]
    assert np.mean(np.array(apart) < 2) > 0.98
    inside = {c.box_xyxy for c in near if all(256 < value < 512 for value in c.centre_xy)}
    assert inside
    assert not inside & boxes
    again = count(ClassifyRoute({**SETTINGS, "tile_px": 300, "threads": 3}), damaged)
    assert (again.cells, again.drops) == (found.cells, found.drops)


def test_how_the_work_is_cut_is_no_part_of_the_identity(network):
    identity = ClassifyRoute({**SETTINGS, "tile_px": 512, "threads": 3, "batch_size": 2}).identity()
    assert identity == ClassifyRoute(SETTINGS).identity()
    assert identity != ClassifyRoute({**SETTINGS, "doubt": 0.5}).identity()
    network().engine = "other"
    assert identity != ClassifyRoute(SETTINGS).identity()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_signals": 3}, "route classify takes no setting min_signals"),
        ({"doubt": 1.5}, "`doubt` must be at most 1"),
        ({"crop_um": 12.0}, "give one of crop_px, crop_um, crop_margin"),
        ({"crop_normalize": "yes"}, "`crop_normalize` must be one of cells, border, no. Received: 'yes'"),
        ({"min_cell_um": 30.0}, "`min_cell_um` must be below `max_cell_um`"),
        ({"tile_px": 0}, "`tile_px` must be a whole number above 0"),
        ({"crop_px": None}, "do not say how large the crops were.*crop_px=30"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(network, settings, message):
    with pytest.raises(ConfigError, match=message):
        ClassifyRoute({**SETTINGS, **settings})


def test_a_real_network_gives_one_table_however_the_work_is_cut(slide, tmp_path):
    from process_state import process_state_kept
    from tiny_engines import CLASSIFIER as CONFIG
    from tiny_engines import write_classifier

    with process_state_kept():
        files = write_classifier(tmp_path, CONFIG)
        settings = {**files, **{key: value for key, value in SETTINGS.items() if key != "model"}}
        one = count(ClassifyRoute({**settings, "tile_px": 512, "batch_size": 5}), spec_of(slide))
        other = count(ClassifyRoute({**settings, "tile_px": 4096, "batch_size": 32, "threads": 3}), spec_of(slide))
    assert len({cell.score for cell in one.cells}) > 100
    assert [replace(cell, score=None, columns={}) for cell in one.cells] == [
        replace(cell, score=None, columns={}) for cell in other.cells
    ]
    scores = np.array([[cell.score for cell in found.cells] for found in (one, other)])
    assert np.ptp(scores, axis=0).max() < 1e-4
