"""How the classification benchmark draws its sets and counts; what it measures is not tested."""

import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ctc_mm.formats.cell_set import CellRow, CellSetWriter, read_cells_csv

MODULES = (
    "classification",
    *(f"classification_{part}" for part in ("sets", "phantoms", "plan", "tables", "figures")),
    "common",
)


@pytest.fixture(autouse=True)
def benchmarks(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def sets():
    import classification_sets

    return classification_sets


@pytest.fixture
def cells_dir(tmp_path):
    """Three CTCs and four WBC of two patients, one WBC refused; CTC boxes are the larger ones."""
    rng = np.random.default_rng(0)
    with CellSetWriter(tmp_path / "cells") as writer:
        for number, label in enumerate(["CTC"] * 3 + ["WBC"] * 4):
            side = 20 if label == "CTC" else 10
            row = CellRow(
                cell_id=f"c{number}",
                channel="brightfield",
                label=label,
                group=f"P{number % 2}",
                source="field.png",
                box_xyxy=(0, 0, side, side + number),
                keep=number != 6,
            )
            writer.add(row, rng.integers(0, 255, (12, 12), np.uint8))
    return tmp_path / "cells"


def _slide(seed):
    noise = np.random.default_rng(seed).normal(0, 1, (900, 1300)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 25)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def test_fields_of_one_place_are_found_and_others_are_not(sets):
    slide, other = _slide(0), _slide(1)
    fields = [slide[:480, :640], other[:480, :640], slide[150:630, 200:840], slide[420:900, 660:1300]]
    assert [(a, b) for a, b, _ in sets.overlapping(fields)] == [(0, 2)]


def test_fields_without_contrast_overlap_with_nothing(sets):
    blank = np.full((480, 640), 200, np.uint8)
    assert sets.overlapping([blank, blank.copy()]) == []
    assert sets.overlapping([]) == []


def test_groups_are_joined_along_chains(sets):
    assert sets.join_groups([], []) == {}
    joined = sets.join_groups("abcde", [(2, 4, 1.0), (0, 1, 0.97), (1, 4, 0.95)])
    assert joined == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "a"}


def test_only_the_wanted_number_of_cells_is_kept(sets, cells_dir):
    sets.keep_only(cells_dir, {"CTC": 2, "WBC": 3}, seed=1)
    told = sets.describe(cells_dir)
    assert told["cells"] == {"CTC": 2, "WBC": 3}
    assert (told["groups"], told["size_auc"], told["equal_images"]) == (2, 1.0, 0)
    first = [row.keep for row in read_cells_csv(cells_dir)]
    sets.keep_only(cells_dir, {"CTC": 2, "WBC": 3}, seed=1)
    assert [row.keep for row in read_cells_csv(cells_dir)] == first


def test_cells_elsewhere_are_left_as_they_are(sets, cells_dir):
    sets.keep_only(cells_dir, {"WBC": 1}, seed=0, group="P1")
    kept = {(row.group, row.label) for row in read_cells_csv(cells_dir) if row.keep}
    assert kept == {("P0", "CTC"), ("P0", "WBC"), ("P1", "WBC")}
    assert sum(row.keep for row in read_cells_csv(cells_dir) if row.group == "P0") == 3


def test_more_cells_than_there_are_is_an_error(sets, cells_dir):
    before = (cells_dir / "cells.csv").read_text()
    with pytest.raises(ValueError, match="has 3 usable cells of class WBC, 4 were asked for"):
        sets.keep_only(cells_dir, {"WBC": 4}, seed=0)
    assert (cells_dir / "cells.csv").read_text() == before


def test_equal_images_and_one_class_are_told(sets, tmp_path):
    row = CellRow(cell_id="a", channel="dapi", label="WBC", group="P", source="s", box_xyxy=(0, 0, 4, 4))
    with CellSetWriter(tmp_path / "cells") as writer:
        for name in "abc":
            writer.add(replace(row, cell_id=name), np.full((4, 4), 7 + (name == "c"), np.uint8))
    told = sets.describe(tmp_path / "cells")
    assert (told["equal_images"], told["size_auc"], told["splits"]) == (1, None, {"all": 3})


def test_splits_follow_the_groups(sets, cells_dir):
    sets.set_splits(cells_dir, {"P0": "train", "P1": "test"})
    assert {(row.group, row.split) for row in read_cells_csv(cells_dir)} == {("P0", "train"), ("P1", "test")}


def test_a_set_is_drawn_once_and_another_is_not_taken_for_it(sets, tmp_path):
    drawn = []
    draw = lambda: drawn.append(1) or {"sets": {}}  # noqa: E731
    assert sets.once(tmp_path / "a", {"seed": 0}, draw) == {"parameters": {"seed": 0}, "sets": {}}
    assert sets.once(tmp_path / "a", {"seed": 0}, draw)["parameters"] == {"seed": 0}
    assert len(drawn) == 1
    with pytest.raises(ValueError, match="holds a set of {'seed': 0}, not of {'seed': 1}; remove it"):
        sets.once(tmp_path / "a", {"seed": 1}, draw)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "cells.csv").write_text("")
    with pytest.raises(ValueError, match="was not finished"):
        sets.once(tmp_path / "half", {}, draw)


def test_a_failing_converter_says_why(sets, tmp_path):
    with pytest.raises(RuntimeError, match="absent.json: cannot be read"):
        sets.convert("coco_to_cells", tmp_path / "absent.json", "--images", tmp_path, "--out", tmp_path / "out")


def test_deparray_classes_differ_in_texture_alone():
    import classification_phantoms

    config = classification_phantoms.deparray_config()
    assert (config.ctc.diameter_um, config.ctc.traits.phase_rad) == (
        config.wbc.diameter_um,
        config.wbc.traits.phase_rad,
    )
    assert config.ctc.traits.grain_um > config.wbc.traits.grain_um
    same = classification_phantoms.deparray_config(0, 0)
    assert (same.ctc.traits, same.ctc_nuclei) == (same.wbc.traits, same.wbc_nuclei)


def test_the_label_free_set_has_the_numbers_asked_for(tmp_path, monkeypatch):
    import classification_phantoms as phantoms
    from classification_sets import describe

    assert sum(phantoms.CULTURED_TRAIN.values()) == 1745
    assert sum(phantoms.CULTURED_TEST.values()) == 120
    assert sum(sum(counts.values()) for counts in phantoms.PATIENT_CELLS.values()) == 95
    monkeypatch.setattr(phantoms, "CULTURED_TRAIN", {"CTC": 9, "WBC": 30})
    monkeypatch.setattr(phantoms, "CULTURED_TEST", {"CTC": 2, "WBC": 6})
    told = phantoms.draw_label_free(tmp_path)["sets"]
    assert told["cultured"]["splits"] == {"test": 8, "train": 39}
    assert told["patients"]["cells"] == {"CTC": 32, "WBC": 63}
    assert told["patients"]["groups"] == 2
    # Cultured cells are larger than WBC, patients' CTCs are not (figure 3e).
    assert abs(told["patients"]["size_auc"] - 0.5) < 0.1 < told["cultured"]["size_auc"] - 0.8
    assert describe(tmp_path / "patients" / "cells") == told["patients"]


def test_no_pairs_are_an_error():
    import classification_tables

    with pytest.raises(ValueError, match="Received: 0 and 0"):
        classification_tables.paired_difference([], [])
    with pytest.raises(ValueError, match="Received: 2 and 1"):
        classification_tables.paired_difference([1.0, 2.0], [1.0])


def test_the_interval_of_paired_differences_is_students():
    import classification_tables

    told = classification_tables.paired_difference([0.9, 0.8, 0.9, 0.7], [0.8, 0.8, 0.7, 0.8])
    # Differences 0.1, 0, 0.2, -0.1: mean 0.05, SD 0.1291, t of 3 degrees of freedom 3.1824.
    assert told.mean == pytest.approx(0.05)
    assert (told.low, told.high) == pytest.approx((0.05 - 0.20543, 0.05 + 0.20543), abs=1e-4)
    assert str(told) == "+0.050 (-0.155 to +0.255; 4 pairs)"
    assert np.isnan(classification_tables.paired_difference([0.9], [0.8]).low)


def test_runs_that_were_not_made_are_said_to_be_missing(tmp_path):
    import classification_tables

    assert classification_tables.bccd_table(tmp_path, tmp_path).count("| not run |") == 30 // 2
    assert "-" in classification_tables.deparray_table(tmp_path)
    assert classification_tables.imfish_table(tmp_path).count("not run") == 6


def test_every_run_has_a_config_and_a_name_of_its_own(repo, tmp_path):
    import classification_plan as plan

    runs = plan.all_runs()
    (tmp_path / "runs" / plan.CULTURED / "fold_0" / "model").mkdir(parents=True)
    best = tmp_path / "runs" / plan.CULTURED / "fold_0" / "model" / "best_ctc_balanced_log_loss_epoch_3.pth"
    best.write_bytes(b"")
    assert len(runs) == 3 + 4 * 5 + 6 + 7
    for run in runs.values():
        words = run.command(tmp_path / "sets", tmp_path / "runs")
        assert (f"model.backbone.init_cfg.checkpoint={best}" in words) == ("frozen_" in run.name)
        assert (repo / words[1]).is_file()
        assert f"data_root={tmp_path / 'sets' / run.data}" in words
    assert [run.name for run in plan.chosen(["imfish_vgg16", "bccd"])][0] == "imfish_vgg16"
    assert {run.name for run in plan.chosen(["bccd"])} == {"bccd_boxes", "bccd_grey", "bccd_fixed"}
    with pytest.raises(ValueError, match="no run begins with 'bcd'"):
        plan.chosen(["bcd"])


def test_a_drawn_set_is_trained_tested_and_told(tmp_path, monkeypatch):
    import classification_phantoms as phantoms
    import classification_plan as plan
    import classification_tables
    from classification_figures import draw_numbers

    config = replace(phantoms.deparray_config(), crop_px=56, ctc_count=(2, 3), wbc_count=(2, 3))
    monkeypatch.setattr(phantoms, "deparray_config", lambda: config)
    phantoms.draw_deparray(tmp_path / "deparray_0", seed=0)
    few = {f"{part}_evaluator.n_resamples": 20 for part in ("val", "test")}
    run = replace(plan.all_runs()["deparray_dapi_0"], values={**plan.epochs(1), **few})
    seconds = plan.execute(run, tmp_path, tmp_path / "runs")
    assert seconds > 0
    assert plan.execute(run, tmp_path, tmp_path / "runs") == seconds
    values = classification_tables.deparray_values(tmp_path / "runs", "dapi", "AUC")
    tested = classification_tables.predictions_of(tmp_path / "runs", "deparray_dapi_0")
    assert set(tested.channel) == {"brightfield"}
    assert len({name.split("/")[0] for name in tested.cell_id}) == 10  # samples of five patients
    assert list(values) == [0]
    assert 0 <= values[0] <= 1
    draw_numbers(tmp_path / "runs", tmp_path / "numbers.png")
    assert cv2.imread(str(tmp_path / "numbers.png")).shape == (340, 1000, 3)
