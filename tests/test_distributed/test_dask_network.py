"""A network in a worker process: the same cells as in this process, whose number of threads may be another."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from ctc_mm.counting.outputs import OutputOptions
from ctc_mm.counting.route import RouteSpec
from ctc_mm.counting.run import count_slides
from ctc_mm.imaging.io import write_ome_tiff

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "test_counting" / "test_engines"), str(TESTS / "test_engine")]

from process_state import process_state_kept  # noqa: E402
from tiny_engines import draw_windows, write_detector  # noqa: E402

# How far a network's numbers may differ: score, boxes in pixels.
ROUNDING = {("score",): 1e-4, ("x0", "y0", "x1", "y1"): 1e-2}


def rows_of(folder):
    with (folder / "detections.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_network_finds_the_same_cells_in_a_worker_process(tmp_path):
    (tmp_path / "slides").mkdir()
    for slide in range(2):
        discs = np.maximum.reduce([draw_windows(1, side=200, seed=10 * slide + one)[0] for one in range(8)])
        write_ome_tiff(tmp_path / "slides" / f"s{slide}.ome.tif", discs[:150, :, 0][None], ("brightfield",), 0.5)
    with process_state_kept():
        settings = {**write_detector(tmp_path, seed=3), "max_cell_um": 11.5, "overlap_px": 24}
        route, plain = RouteSpec("detect", settings), OutputOptions(report=False)
        for out, workers in (("here", 0), ("there", 1)):
            assert count_slides(tmp_path / "slides", route, tmp_path / out, outputs=plain, workers=workers).is_complete
    for slide in ("s0", "s1"):
        here, there = (rows_of(tmp_path / out / slide) for out in ("here", "there"))
        assert len(here) > 50
        for names in (("class",), ("flags",), ("window",)):
            assert [[one[name] for name in names] for one in there] == [[one[name] for name in names] for one in here]
        for names, most in ROUNDING.items():
            ours, theirs = (np.array([[float(one[name]) for name in names] for one in rows]) for rows in (here, there))
            assert theirs == pytest.approx(ours, abs=most)
