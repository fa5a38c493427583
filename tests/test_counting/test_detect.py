"""The detector route on slides of known truth, with a detector that needs no network."""

import json
import weakref

import cv2
import numpy as np
import pytest
from blob_engine import BACKGROUND, WINDOW, BlobEngine, blob_route, blob_slide, count, file_spec, table, tasks_of

from ctc_mm.counting.detect_stream import TILES_AHEAD, TileWindows, WindowStream
from ctc_mm.counting.route import FirstPass, TileResult, TileTask
from ctc_mm.counting.windows import WindowGrid
from ctc_mm.errors import ConfigError, SlideError
from ctc_mm.imaging.io import write_ome_tiff


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    image, truth = blob_slide()
    path = tmp_path_factory.mktemp("slide") / "slide.ome.tif"
    write_ome_tiff(path, image[None], ("brightfield",), 1.0)
    return path, image, truth


def write(path, image, um_per_px=1.0, channels=("brightfield",)):
    write_ome_tiff(path, image if image.ndim == 3 else image[None], channels, um_per_px)
    return file_spec(path)


def found(slide_count):
    return sorted((one.box_xyxy, one.class_name) for one in slide_count.cells)


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 300), (300, 1), (250, 200)])
@pytest.mark.parametrize("value", [0, 90])
def test_nothing_on_an_empty_slide(tmp_path, size_wh, value):
    spec = write(tmp_path / "empty.ome.tif", np.full(size_wh[::-1], value, np.uint8))
    result = count(blob_route(), spec)
    assert result.cells == ()
    assert result.counts == {"CTC": 0, "WBC": 0, "unidentified": 0}
    assert result.area.background_px == result.area.total_px == size_wh[0] * size_wh[1]
    looked_at = count(blob_route(skip_background=False), spec)
    assert looked_at.area.analysed_px == size_wh[0] * size_wh[1]


def test_every_cell_once(slide):
    path, _, truth = slide
    result = count(blob_route(), file_spec(path))
    assert found(result) == sorted((box, ("CTC", "WBC")[label]) for box, label in truth)
    assert result.counts["CTC"] > 40
    assert result.counts["WBC"] > 40
    assert result.target == "CTC"
    assert result.classes == ("CTC", "WBC", "unidentified")
    assert result.area.total_px == 520 * 400
    one = result.cells[0]
    assert one.columns["window"] == int(WindowGrid((520, 400), WINDOW, 20).owners_of(one.centre_xy)[0])
    assert one.diameter_um in (13.0, 7.0)
    assert set(one.columns) == {"window", "score_CTC", "score_WBC"}
    assert one.columns[f"score_{one.class_name}"] == one.score
    # Every window looks at its whole self, so a cell near a seam is seen by several.
    assert result.removals["other_window"] > 10
    assert result.removals["seam_duplicate"] + result.removals["other_window"] > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"tile_px": 512}, {"tile_px": 1024}, {"tile_px": 10**6}, {"tile_px": 1}, {"tile_px": 150},
        {"threads": 1}, {"threads": 5},
    ],
    ids=str,
)  # fmt: skip
def test_how_work_is_cut_changes_nothing(slide, changes):
    expected = count(blob_route(), file_spec(slide[0]))
    result = count(blob_route(**changes), file_spec(slide[0]))
    assert table(result) == table(expected)
    assert result.removals == expected.removals
    assert result.thresholds == expected.thresholds
    assert result.area == expected.area


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_go_across_tiles(slide, batch_size):
    engine = BlobEngine(batch_size)
    result = count(blob_route(engine, tile_px=150, batch_size=batch_size), file_spec(slide[0]))
    assert table(result) == table(count(blob_route(), file_spec(slide[0])))
    assert engine.batches[:-1] == [batch_size] * (len(engine.batches) - 1)
    assert sum(engine.batches) == result.thresholds["windows"]


def test_batches_go_across_slides_and_results_keep_the_order(slide):
    engine = BlobEngine(4)
    route = blob_route(engine, tile_px=150, batch_size=4)
    tasks = list(tasks_of(route, file_spec(slide[0], "one"), file_spec(slide[0], "two")))
    results = list(route.measure(tasks))
    assert [(one.slide, one.tile) for one in results] == [(task.plan.spec.name, task.tile) for task in tasks]
    assert engine.batches[:-1] == [4] * (len(engine.batches) - 1)
    half = len(results) // 2
    assert [one.payload for one in results[:half]] == [one.payload for one in results[half:]]


def test_tasks_are_taken_as_they_are_needed(slide):
    route = blob_route(tile_px=1)
    tasks = list(tasks_of(route, file_spec(slide[0])))
    taken = []
    results = route.measure(task for task in tasks if not taken.append(task))
    next(results)
    assert len(taken) < len(tasks) / 2
    assert len(list(results)) == len(tasks) - 1


@pytest.mark.parametrize("batch_size", [4, 64])
def test_tiles_alive_do_not_grow_with_the_batch(slide, batch_size):
    route = blob_route(BlobEngine(batch_size), batch_size=batch_size)
    (task, *_) = tasks_of(route, file_spec(slide[0]))
    tiles, alive = [], []

    def read(task):
        pixels = np.full((200, 200), BACKGROUND, np.uint8)
        tiles.append(weakref.ref(pixels))
        alive.append(sum(tile() is not None for tile in tiles))
        return TileWindows(task, np.array([0]), np.array([[0, 0, *WINDOW]]), pixels, (0, 0, 200, 200))

    stream = WindowStream(route.engine, read, np.array([0.5, 0.5]), threads=2)
    assert len(list(stream.run(task for _ in range(150)))) == 150
    # Read ahead, the one that is cut, and the one that was asked for meanwhile.
    assert max(alive) <= TILES_AHEAD + 2


def test_what_travels_is_json(slide):
    route, spec = blob_route(tile_px=200), file_spec(slide[0])
    expected = count(route, spec)
    plan = route.plan(spec)
    plan = type(plan)(plan.spec, plan.size_wh, plan.n_tiles, plan.tile_px, json.loads(json.dumps(plan.details)))
    first = route.first_pass(plan)
    first = FirstPass(json.loads(json.dumps(first.levels)), first.overview)
    results = [
        TileResult(one.slide, one.tile, json.loads(json.dumps(one.payload)))
        for one in blob_route(tile_px=200).measure(TileTask(plan, first, tile) for tile in range(plan.n_tiles))
    ]
    assert table(route.finish(plan, first, results)) == table(expected)
    json.dumps([route.identity(), expected.thresholds, expected.settings, expected.model], allow_nan=False)


def test_empty_parts_are_skipped_and_recorded(tmp_path):
    image, truth = blob_slide((600, 400), empty_from_x=200)
    spec = write(tmp_path / "half.ome.tif", image)
    engine = BlobEngine()
    result, whole = count(blob_route(engine), spec), count(blob_route(skip_background=False), spec)
    assert found(result) == found(whole)
    assert len(result.cells) == len(truth)
    assert result.area.background_px > 0.4 * 600 * 400
    assert result.area.total_px == 600 * 400
    assert result.area.share == 1
    skipped = result.thresholds["windows_taken_for_empty"]
    assert sum(engine.batches) == result.thresholds["windows"] - skipped
    assert skipped > 10


@pytest.mark.parametrize("kind", ["times_257", "float_in_1", "float_in_255"])
def test_depth_of_pixels_does_not_matter(tmp_path, slide, kind):
    _, image, _ = slide
    deeper = {
        "times_257": image.astype(np.uint16) * 257,
        "float_in_1": image.astype(np.float32) / 255,
        "float_in_255": image.astype(np.float32),
    }[kind]
    result = count(blob_route(), write(tmp_path / "deep.ome.tif", deeper))
    expected = count(blob_route(), file_spec(slide[0]))
    assert found(result) == found(expected)
    assert [one.score for one in result.cells] == pytest.approx([one.score for one in expected.cells], abs=1e-6)


def test_a_12_bit_slide_is_not_dark(tmp_path, slide):
    result = count(blob_route(), write(tmp_path / "deep.ome.tif", slide[1].astype(np.uint16) * 16 + 5))
    assert result.thresholds["white_level"] == 4095
    assert found(result) == found(count(blob_route(), file_spec(slide[0])))


def test_a_slide_above_its_white_level_is_refused(tmp_path, slide):
    spec = write(tmp_path / "deep.ome.tif", slide[1].astype(np.uint16) * 16 + 5)
    with pytest.raises(SlideError, match=r"slide: 100% .* above the white level 1023 \(given\), up to [34]\d\d\d"):
        count(blob_route(white_level=1023), spec)


def test_floats_of_unknown_white_are_refused(tmp_path, slide):
    spec = write(tmp_path / "deep.ome.tif", slide[1].astype(np.float32) * 10)
    with pytest.raises(SlideError, match=r"slide: float pixels reach \d+.*--settings white_level=N"):
        count(blob_route(), spec)
    assert found(count(blob_route(white_level=2550), spec)) == found(count(blob_route(), file_spec(slide[0])))


def test_a_colour_slide(tmp_path, slide):
    path = tmp_path / "colour.png"
    cv2.imwrite(str(path), np.repeat(slide[1][..., None], 3, axis=2))
    result = count(blob_route(), file_spec(path, um_per_px=1.0))
    assert result.channels == ("red", "green", "blue")
    assert found(result) == found(count(blob_route(), file_spec(slide[0])))
    assert result.notes == ()  # grey, stored as colours
    image = cv2.imread(str(path))
    image[200:260, 200:260, 0] = 0
    cv2.imwrite(str(path), image)
    (note,) = count(blob_route(), file_spec(path, um_per_px=1.0)).notes
    assert note.startswith("the slide is in colour, the model was trained on 'brightfield': ")


def test_the_channel_of_the_model_is_taken_by_name(tmp_path, slide):
    stack = np.stack([np.zeros_like(slide[1]), slide[1]])
    spec = write(tmp_path / "two.ome.tif", stack, channels=("dapi", "BF"))
    result = count(blob_route(), spec)
    assert result.channels == ("BF",)
    assert found(result) == found(count(blob_route(), file_spec(slide[0])))
    with pytest.raises(SlideError, match="slide: no channel cep8 among dapi, BF; .* --channels cep8=0"):
        blob_route(BlobEngine(channel="cep8")).plan(spec)


def test_the_only_channel_is_taken_and_said(tmp_path, slide):
    result = count(blob_route(), write(tmp_path / "one.ome.tif", slide[1][None], channels=("camera",)))
    assert "its only channel, 'camera', was taken for 'brightfield'" in result.notes


def test_pixel_sizes_must_agree(tmp_path, slide):
    spec = write(tmp_path / "coarse.ome.tif", slide[1], um_per_px=0.5)
    with pytest.raises(SlideError, match=r"0.5 um per px, the model was trained at 1.*--resample"):
        blob_route().plan(spec)
    path = tmp_path / "unknown.png"
    cv2.imwrite(str(path), slide[1])
    with pytest.raises(SlideError, match="--um-per-px"):
        blob_route().plan(file_spec(path))
    assert blob_route().plan(file_spec(path, um_per_px=1.05)).details["scale"] == 1.0
    # A model that does not know its pixel size takes the slide as it is.
    assert count(blob_route(BlobEngine(um_per_px=None)), file_spec(path)).cells[0].diameter_um is None


@pytest.mark.parametrize("tile_px", [200, 10**6])
def test_a_resampled_slide_has_its_boxes_where_they_belong(tmp_path, slide, tile_px):
    _, image, truth = slide
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    spec = write(tmp_path / "fine.ome.tif", large, um_per_px=0.5)
    result = count(blob_route(resample=True, tile_px=tile_px), spec)
    assert result.size_wh == (1040, 800)
    assert result.area.total_px == 1040 * 800
    assert result.um_per_px == 0.5
    assert result.thresholds["seen_um_per_px"] == 1.0
    assert result.overview.scale == 0.5  # of the slide, though the model saw half of its pixels
    assert any("resampled" in note for note in result.notes)
    assert len(result.cells) == len(truth)
    centres = np.array(sorted(((x0 + x1), (y0 + y1)) for (x0, y0, x1, y1), _ in truth), float)
    seen = np.array([one.centre_xy for one in result.cells])
    assert np.linalg.norm(centres[:, None] - seen[None], axis=2).min(axis=1).max() < 3
    diameters = sorted(one.diameter_um for one in result.cells)
    assert 5.5 < diameters[0] < 8
    assert 11.5 < diameters[-1] < 15


def test_largest_cell_and_overlap_must_fit(slide):
    with pytest.raises(SlideError, match="slide: .* overlap_px is 20, the largest cell 25 px; .*--max-cell-um"):
        blob_route(max_cell_px=25).plan(file_spec(slide[0]))
    with pytest.raises(SlideError, match="`overlap_px` must be from 0 to 0.75 of the window of 96 x 80 px"):
        blob_route(max_cell_px=16, overlap_px=70).plan(file_spec(slide[0]))
    default = blob_route(max_cell_px=None, overlap_px=None).plan(file_spec(slide[0])).details
    assert (default["max_cell_px"], default["overlap_px"]) == (30.0, 34)
    wide = blob_route(max_cell_px=None, overlap_px=None, max_cell_um=20.5).plan(file_spec(slide[0])).details
    assert (wide["max_cell_px"], wide["overlap_px"]) == (20.5, 26)


def test_too_large_targets_are_shown_and_not_counted(tmp_path, slide):
    image = slide[1].copy()
    image[200:240, 200:240] = 230
    spec = write(tmp_path / "clump.ome.tif", image)
    result = count(blob_route(), spec)
    large = [one for one in result.cells if max(np.subtract(one.box_xyxy[2:], one.box_xyxy[:2])) > 16]
    assert [(one.class_name, one.flags) for one in large] == [("unidentified", ("too_large",))]
    x0, y0, x1, y1 = large[0].box_xyxy
    assert x0 <= 200 < 240 <= x1
    assert y0 <= 200 < 240 <= y1
    assert result.counts["unidentified"] == 1


def test_doubtful_targets_are_shown(slide):
    engine = BlobEngine(thresholds={"CTC": 0.95, "WBC": 0.5})
    result = count(blob_route(engine), file_spec(slide[0]))
    expected = count(blob_route(), file_spec(slide[0]))
    assert result.counts["CTC"] + result.counts["unidentified"] == expected.counts["CTC"]
    doubtful = [one for one in result.cells if one.class_name == "unidentified"]
    assert doubtful
    assert all(one.flags == ("below_threshold",) and 0.475 <= one.score < 0.95 for one in doubtful)
    assert result.counts["WBC"] == expected.counts["WBC"]
    assert "score of 0.95 or more" in result.definition
    without = count(blob_route(engine, doubt=1.0), file_spec(slide[0]))
    assert without.counts == {**result.counts, "unidentified": 0}


def test_a_slide_that_vanishes_fails_alone(tmp_path, slide):
    gone = tmp_path / "gone.ome.tif"
    gone.write_bytes(slide[0].read_bytes())
    plans = blob_route(tile_px=200)
    tasks = [*tasks_of(plans, file_spec(gone, "gone")), *tasks_of(plans, file_spec(slide[0], "good"))]
    gone.unlink()
    results = list(blob_route(tile_px=200).measure(tasks))
    assert len(results) == len(tasks)
    failed = [one for one in results if one.slide == "gone"]
    assert failed
    assert all("gone.ome.tif" in one.error for one in failed)
    assert all(one.error is None and one.payload for one in results if one.slide == "good")


def test_cells_at_the_border_are_flagged(tmp_path):
    image = np.full((200, 200), 90, np.uint8)
    cv2.circle(image, (2, 100), 6, 230, -1)
    cv2.circle(image, (197, 60), 6, 230, -1)
    cv2.circle(image, (100, 100), 6, 230, -1)
    result = count(blob_route(), write(tmp_path / "border.ome.tif", image))
    assert [(one.box_xyxy[0], one.box_xyxy[2], one.flags) for one in result.cells] == [
        (191.0, 200.0, ("border",)),
        (0.0, 9.0, ("border",)),
        (94.0, 107.0, ()),
    ]


def test_identity_is_what_decides(slide):
    identity = blob_route().identity()
    assert blob_route(tile_px=64, threads=7, batch_size=3).identity() == identity
    for changes in ({"doubt": 0.4}, {"overlap_px": 22}, {"skip_background": False}, {"white_level": 200.0}):
        assert blob_route(**changes).identity() != identity
    other = BlobEngine()
    other.device = "cuda:0"
    assert blob_route(other).identity()["model"] == {**identity["model"], "device": "cuda"}
    assert blob_route(BlobEngine(hashes={"checkpoint": "1"})).identity() != identity


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"tile_px": 0}, "`tile_px` must be a whole number above 0. Received: 0"),
        ({"threads": 1.5}, "`threads` must be a whole number"),
        ({"doubt": 1.5}, "`doubt` must be at most 1"),
        ({"doubt": 0}, "`doubt` must be a number above 0"),
        ({"max_cell_um": -3}, "`max_cell_um` must be a number above 0"),
        ({"max_cell_um": 3.0}, "one of `max_cell_um` and `max_cell_px`"),
        ({"rule": "youden"}, "route detect takes no setting rule"),
    ],
)
def test_refused_settings(settings, match):
    with pytest.raises(ConfigError, match=match):
        blob_route(**settings)
