"""The detector route with a real network with attention: how the work is cut changes nothing."""

import sys
from pathlib import Path

import numpy as np
import pytest
from blob_engine import count, file_spec, table
from scipy.spatial import cKDTree

from ctc_mm.counting.detect import DetectRoute
from ctc_mm.counting.engines import EngineSettings
from ctc_mm.imaging.io import write_ome_tiff

sys.path.insert(0, str(Path(__file__).parent / "test_engines"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test_engine"))

from process_state import process_state_kept  # noqa: E402
from tiny_engines import draw_windows, write_detector  # noqa: E402

SIZE_WH = (230, 190)


@pytest.fixture(scope="module", autouse=True)
def process_state():
    with process_state_kept():
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    files = write_detector(tmp_path_factory.mktemp("detector"), seed=3)
    return {**files, "max_cell_um": 11.5, "overlap_px": 24, "batch_size": 4}


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    discs = draw_windows(1, side=max(SIZE_WH), seed=4)[0]
    for seed in range(5, 12):
        discs = np.maximum(discs, draw_windows(1, side=max(SIZE_WH), seed=seed)[0])
    path = tmp_path_factory.mktemp("slide") / "slide.ome.tif"
    write_ome_tiff(path, discs[: SIZE_WH[1], : SIZE_WH[0], 0][None], ("brightfield",), 0.5)
    return file_spec(path)


@pytest.fixture(scope="module")
def expected(settings, slide):
    return count(DetectRoute(settings), slide)


@pytest.fixture(scope="module")
def exported(settings, tmp_path_factory):
    pytest.importorskip("onnx", reason="onnx is not installed (pip install onnx)")
    from ctc_mm.engine.export import export_model

    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    export_model(EngineSettings.of(settings), "onnx", path)
    return path


def numbers_of(slide_count):
    """Each cell as box, a hundred times its score (0.1 is 1e-3), place of its class, float (N, 6)."""
    return np.array(
        [(*one.box_xyxy, 100 * one.score, slide_count.classes.index(one.class_name)) for one in slide_count.cells]
    )


def test_the_network_finds_something(expected):
    assert expected.thresholds["window_wh"] == [48, 48]
    assert expected.thresholds["windows"] == 9 * 7
    assert expected.counts["CTC"] > 100
    assert expected.model["engine"] == "torch"
    assert set(expected.model["hashes"]) == {"config", "checkpoint"}
    windows = {one.columns["window"] for one in expected.cells}
    assert len(windows) > 40


@pytest.mark.parametrize(
    "changes",
    [{"tile_px": 512}, {"tile_px": 1024}, {"tile_px": 10**6}, {"tile_px": 40}, {"tile_px": 100, "threads": 4}],
    ids=str,
)
def test_tiles_and_threads_change_nothing(settings, slide, expected, changes):
    result = count(DetectRoute({**settings, **changes}), slide)
    assert table(result) == table(expected)
    assert result.removals == expected.removals


@pytest.mark.parametrize("batch_size", [1, 3, 11])
def test_batches_change_no_more_than_rounding(settings, slide, expected, batch_size):
    result = count(DetectRoute({**settings, "batch_size": batch_size}), slide)
    assert [(one.class_name, one.flags, one.columns["window"]) for one in result.cells] == [
        (one.class_name, one.flags, one.columns["window"]) for one in expected.cells
    ]
    assert [one.score for one in result.cells] == pytest.approx([one.score for one in expected.cells], abs=1e-4)
    assert np.array([one.box_xyxy for one in result.cells]) == pytest.approx(
        np.array([one.box_xyxy for one in expected.cells]), abs=1e-2
    )
    assert result.removals == expected.removals


def test_another_window_is_another_result(settings, slide, expected):
    # Attention pools over the window: this is why its size is the model's, not the reader's.
    result = count(DetectRoute({**settings, "window_px": 64}), slide)
    assert result.thresholds["window_wh"] == [64, 64]
    assert table(result) != table(expected)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_exported_model_gives_the_same_count(settings, slide, expected, exported, engine):
    pytest.importorskip(engine, reason=f"{engine} is not installed (pip install {engine})")
    changed = {name: value for name, value in settings.items() if name not in ("config", "checkpoint")}
    result = count(DetectRoute({**changed, "model": str(exported), "engine": engine}), slide)
    assert result.model["engine"] == engine
    assert result.thresholds == expected.thresholds
    # Boxes that lie beside each other to the last digits may change places in the order.
    found, wanted = numbers_of(result), numbers_of(expected)
    assert found.shape == wanted.shape
    nearest, place = cKDTree(found).query(wanted, p=np.inf)
    assert sorted(place.tolist()) == list(range(len(wanted)))
    assert nearest.max() < 0.1
