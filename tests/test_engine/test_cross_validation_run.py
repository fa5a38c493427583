"""A run over its folds: nothing done twice, what was interrupted goes on, failures do not spread."""

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from tiny_cells import draw_cells, write_config

from ctc_mm.datasets import SingleCellDataset
from ctc_mm.engine.cross_validation import CrossValidationOptions, FoldsFailedError, cross_validate
from ctc_mm.engine.runs.processes import only_run_in, training_environment
from ctc_mm.engine.runs.run_folder import resume_point
from ctc_mm.engine.runs.single_run import RunCommands
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.errors import ConfigError, LeakError

FAKE = Path(__file__).parent / "fake_fold.py"


@pytest.fixture(autouse=True)
def pictures_are_not_drawn(monkeypatch):
    """Drawing takes longer than all the rest; test_cross_validation_summary.py draws."""
    for module in ("ctc_mm.engine.cross_validation.drawing", "ctc_mm.evaluation.binary_figures"):
        monkeypatch.setattr(f"{module}.png_bytes", lambda figure: b"drawn")


class FakeCommands(RunCommands):
    """Runs the stand-in."""

    def train(self, fold, resume):
        return [sys.executable, str(FAKE), "train", str(fold.path), str(resume)]

    def test(self, fold, checkpoint):
        assert checkpoint.is_file()
        return [sys.executable, str(FAKE), "test", str(fold.path), "False"]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return draw_cells(tmp_path_factory.mktemp("cells"))


class Run:
    """A folder with what the stand-in needs, beside the run's own folder marks."""

    def __init__(self, folder, cells):
        self.out = folder / "out"
        self.out.mkdir()
        self.cells = cells
        self.config = write_config(folder / "tiny.py", cells, "test_evaluator.update(n_resamples=50)\n")
        (self.out / "plan.json").write_text(json.dumps({"format": "ctc_mm cross-validation 1", "splits": {}}))
        torch.save({"state_dict": {"a": torch.zeros(1)}}, self.out / "checkpoint.pth")

    def __call__(self, config_options=(), again=False, jobs=1, **options):
        config = load_config(self.config, dict(config_options))
        register_all_modules(config.default_scope)
        options = CrossValidationOptions(**{"folds": 3, **options})
        return cross_validate(config, self.out, options, again=again, jobs=jobs, commands=FakeCommands())

    def calls(self):
        path = self.out / "calls.txt"
        found = path.read_text().splitlines() if path.is_file() else []
        path.unlink(missing_ok=True)
        return found


@pytest.fixture
def run(tmp_path, cells):
    return Run(tmp_path, cells)


ALL = ["train fold_0", "test fold_0", "train fold_1", "test fold_1", "train fold_2", "test fold_2"]


def test_all_folds_run_once_and_are_summed_up(run):
    result = run()
    assert run.calls() == ALL
    assert [one.name for one in result.outcomes] == ["fold_0", "fold_1", "fold_2"]
    summary = json.loads((run.out / "summary.json").read_text())
    assert summary["values"]["AUC"] == {"mean": pytest.approx(0.9), "sd": pytest.approx(0.0), "folds": 3,
                                        "undefined_folds": 0}  # fmt: skip
    assert summary["values"]["specificity"] == {"mean": 1.0, "sd": 0.0, "folds": 2, "undefined_folds": 1}
    assert summary["pooled"][0]["samples"] == 50
    assert sum(fold["counts"]["test"]["cells"] for fold in summary["folds"]) == 50
    assert summary["folds_without_result"] == []
    report = (run.out / "report.html").read_text()
    assert report.count('<img src="data:image/png;base64,') == 4
    assert "http" not in report.split("</style>")[1]


def test_finished_folds_are_never_repeated(run):
    run()
    run.calls()
    before = {path: path.read_bytes() for path in sorted(run.out.glob("*.json")) + sorted(run.out.glob("*.csv"))}
    stamps = {path: path.stat().st_mtime_ns for path in run.out.glob("fold_*/**/*") if path.is_file()}
    result = run()
    assert run.calls() == []
    assert all(one.was_done for one in result.outcomes)
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_folds_in_parallel_give_the_same_files(run, tmp_path, cells):
    (tmp_path / "other").mkdir()
    parallel = Run(tmp_path / "other", cells)
    run()
    parallel(jobs=3)
    assert sorted(parallel.calls()) == sorted(ALL)
    for name in ("summary.json", "folds.csv", "results.csv", "roc.csv", "roc.png", "learning_curves.csv", "pr.csv"):
        assert (run.out / name).read_bytes() == (parallel.out / name).read_bytes(), name


def wait_for(path):
    for _ in range(1000):
        if path.is_file() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError(f"{path} did not come")


def test_killed_fold_goes_on_and_the_others_are_not_lost(run):
    (run.out / "hang_fold_1").touch()
    pid = run.out / "fold_1" / "pid"
    killer = threading.Thread(target=lambda: os.kill(wait_for(pid), signal.SIGKILL))
    killer.start()
    with pytest.raises(
        FoldsFailedError, match=r"1 of 3 folds failed.*\nfold_1: its training was killed by signal 9"
    ) as caught:
        run()
    killer.join()
    assert "    hangs" in str(caught.value)  # the end of its log
    assert run.calls() == ["train fold_0", "test fold_0", "train fold_1", "train fold_2", "test fold_2"]
    assert json.loads((run.out / "summary.json").read_text())["folds_without_result"] == ["fold_1"]
    assert "missing from every figure here: fold_1" in (run.out / "report.md").read_text()

    (run.out / "hang_fold_1").unlink()
    result = run()
    assert run.calls() == ["train fold_1 resumed", "test fold_1"]
    assert json.loads((run.out / "fold_1" / "done.json").read_text())["resumed"] is True
    assert result.summary["folds_without_result"] == []
    # Epoch 2 was trained twice; the curve has it once.
    assert (run.out / "learning_curves.csv").read_text().splitlines()[2].startswith("loss,2,0.5,0.0,3,")


def test_failed_fold_is_named_with_its_error_and_repeated(run):
    (run.out / "fail_fold_0").touch()
    with pytest.raises(
        FoldsFailedError, match="fold_0: its training ended with code 1: error: the learning rate is not"
    ):
        run()
    run.calls()
    (run.out / "fail_fold_0").unlink()
    run()
    assert run.calls() == ["train fold_0 resumed", "test fold_0"]


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "sigterm"])
def test_stopping_ends_the_children_and_leaves_a_run_to_go_on_with(run, number):
    for name in ("fold_0", "fold_1"):
        (run.out / f"hang_{name}").touch()
    pids = []

    def stop():
        pids.extend(wait_for(run.out / name / "pid") for name in ("fold_0", "fold_1"))
        os.kill(os.getpid(), number)

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(KeyboardInterrupt):
        run(jobs=2)
    stopper.join()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert sorted(run.calls()) == ["train fold_0", "train fold_1"]
    for name in ("fold_0", "fold_1"):
        (run.out / f"hang_{name}").unlink()
    run()
    assert run.calls() == ["train fold_0 resumed", "test fold_0", "train fold_1 resumed", "test fold_1", *ALL[4:]]


def test_half_a_test_is_done_again(run):
    run()
    run.calls()
    (run.out / "fold_2" / "done.json").unlink()
    (run.out / "fold_2" / "test" / "half").touch()
    run()
    assert run.calls() == ["test fold_2"]
    assert not (run.out / "fold_2" / "test" / "half").exists()


def test_training_without_a_finished_epoch_starts_anew(run):
    run()
    run.calls()
    for name in ("done.json", "trained.json", "model/finished_epoch"):
        (run.out / "fold_2" / name).unlink()
    run()
    assert run.calls() == ["train fold_2", "test fold_2"]
    assert "started anew: it had finished no epoch" in (run.out / "fold_2" / "train.log").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config_options": {"optim_wrapper.optimizer.lr": 0.5}},
         r"the config changed \(optim_wrapper.optimizer.lr was 0.001, is 0.5\)\. Give another folder with --out, or "),
        ({"folds": 4}, r"the division changed \(folds was 3, is 4\)"),
        ({"seed": 5}, r"the division changed \(seed was None, is 5\)"),
        ({"group_key": "split"}, r"the division changed \(group_key was group, is split\)"),
    ],
    ids=["config", "folds", "seed", "groups"],
)  # fmt: skip
def test_changes_are_noticed_and_again_starts_anew(run, change, message):
    run()
    run.calls()
    with pytest.raises(ConfigError, match=message):
        run(**change)
    assert run.calls() == []
    result = run(**change, again=True)
    assert len(run.calls()) == 2 * len(result.outcomes)


def test_changed_data_are_noticed(tmp_path):
    run = Run(tmp_path, draw_cells(tmp_path / "cells"))
    run()
    table = run.cells / "cells.csv"
    text = table.read_text()
    table.write_text(text.replace("test_CTC_000,brightfield,test_P0", "test_CTC_000,brightfield,test_P1"))
    with pytest.raises(
        ConfigError, match=r"differs from this one: the data changed \(cells, labels, groups or images\)"
    ):
        run()
    table.write_text(text)
    run()  # as it was
    image = next((run.cells / "test" / "CTC").glob("*.png"))
    image.write_bytes(next((run.cells / "test" / "WBC").glob("*.png")).read_bytes())
    with pytest.raises(ConfigError, match="the data changed"):
        run()


def test_more_repeats_add_to_a_run(run):
    run()
    run.calls()
    result = run(repeats=2)
    assert run.calls() == [call.replace(f"_{n}", f"_{n + 3}") for call in ALL for n in (int(call[-1]),)]
    assert [pool["title"] for pool in result.summary["pooled"]] == ["pooled, repeat 0", "pooled, repeat 1"]
    assert [fold["seed"] for fold in result.summary["folds"]] == [0, 1, 2, 3, 4, 5]


def test_held_out_test_is_the_last_fold(run):
    result = run(holdout=0.25, jobs=2)
    assert [one.name for one in result.outcomes] == ["fold_0", "fold_1", "fold_2", "final"]
    final, folds = result.summary["final"][0], result.summary["pooled"][0]
    assert (final["title"], final["samples"] + folds["samples"]) == ("held-out test", 50)
    split = json.loads((run.out / "final" / "split.json").read_text())["folds"][0]
    for number in range(3):
        fold = json.loads((run.out / f"fold_{number}" / "split.json").read_text())
        assert set(fold["not_used"]) == set(split["test"])
        assert sorted(sum((fold["folds"][0][part] for part in ("train", "val", "test")), [])) == sorted(
            split["train"] + split["val"]
        )
    assert (run.out / "roc_held-out_test.png").is_file()


def test_repeats_with_a_held_out_test_number_their_folds_on(run):
    result = run(folds=2, holdout=0.25, repeats=2)
    assert [one.name for one in result.outcomes] == ["fold_0", "fold_1", "fold_2", "fold_3", "final", "final_1"]


def test_another_key_is_drawn_by_the_bootstrap_and_tears_groups(tmp_path):
    cells = draw_cells(tmp_path / "cells")
    table = (cells / "cells.csv").read_text().splitlines()
    place = table[0].split(",").index("source")
    lines = [line.split(",") for line in table[1:]]
    for number, line in enumerate(lines):
        line[place] = f"field_{number // 2}.png"  # two cells each, whatever their patient
    (cells / "cells.csv").write_text("\n".join([table[0], *(",".join(line) for line in lines)]) + "\n")
    run = Run(tmp_path, cells)
    by_field = run(group_key="source").summary
    assert by_field["pooled"][0]["AUC"]["units"] == 25
    assert any("of the column `group` stand on two sides all the same" in one for one in by_field["warnings"])
    by_patient = run(again=True).summary
    assert by_patient["pooled"][0]["AUC"]["units"] == 12
    assert not any("stand on two sides" in one for one in by_patient["warnings"])


def test_last_checkpoint_of_a_finished_epoch_is_gone_on_from(tmp_path):
    (tmp_path / "finished_epoch").write_text("7")
    for epoch in (5, 10):
        torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / f"epoch_{epoch}.pth")
    assert resume_point(tmp_path) == (tmp_path / "epoch_5.pth", "")
    (tmp_path / "finished_epoch").write_text("4")
    assert resume_point(tmp_path)[0] is None


def test_leaks_stop_a_run_before_anything_trains(tmp_path):
    cells = draw_cells(tmp_path / "cells")
    first = next((cells / "test" / "CTC").glob("test_CTC_000*"))
    for split in ("train", "val"):  # one picture, three patients
        next((cells / split / "CTC").glob(f"{split}_CTC_000*")).write_bytes(first.read_bytes())
    run = Run(tmp_path, cells)
    leak = "test_CTC_000 in .*_CTC_000 in .*equal pixels"
    with pytest.raises(LeakError, match=rf"(?s)pictures on two sides of the split.*{leak}.*Nothing was trained"):
        run(folds=5)
    assert run.calls() == []
    result = run(folds=5, allow_leaks=True)
    assert any("leaks, which flatter" in warning for warning in result.summary["warnings"])
    assert "leaks, which flatter" in (run.out / "report.html").read_text()
    assert run(folds=5, allow_leaks=True).summary == result.summary  # told again by the report of a finished run


def test_paper_mode_warns_of_the_groups_it_tears_apart(run):
    result = run(ungrouped=True)
    warnings = " ".join(result.summary["warnings"])
    assert "ungrouped split, as in the papers" in warnings
    assert "groups that the split tears apart" in warnings
    assert "one by one (paper mode)" in (run.out / "report.md").read_text()


def test_transfer_to_another_set(run, tmp_path):
    patients = draw_cells(tmp_path / "patients", {"all": (4, 6)}, seed=9)
    result = run(protocol="transfer", test_data=str(patients))
    assert run.calls() == ["train fold_0", "test fold_0"]
    assert result.summary["pooled"][0]["samples"] == 10
    counts = result.summary["folds"][0]["counts"]
    assert counts["test"] == {"cells": 10, "CTC": 4, "WBC": 6}
    assert counts["train"]["cells"] + counts["val"]["cells"] == 50
    config = load_config(run.out / "fold_0" / "config.py")
    datasets = {part: config[f"{part}_dataloader"].dataset for part in ("train", "val", "test")}
    assert {part: one.data_root for part, one in datasets.items()} == {
        "train": str(run.cells), "val": str(run.cells), "test": str(patients),
    }  # fmt: skip
    for part, one in datasets.items():
        arguments = {name: value for name, value in one.items() if name not in ("type", "pipeline")}
        assert len(SingleCellDataset(**arguments, pipeline=[])) == counts[part]["cells"]
    with pytest.raises(LeakError, match="groups that the split tears apart"):  # the set itself is no other set
        run(protocol="transfer", test_data=str(run.cells), again=True)


def test_folder_with_other_files_is_refused(run):
    (run.out / "plan.json").unlink()
    with pytest.raises(
        ConfigError, match=r"out: holds other files \(checkpoint.pth\), not a cross-validation; give a new"
    ):
        run()
    assert run.calls() == []


def test_two_runs_in_one_folder_are_refused(run):
    with only_run_in(run.out), pytest.raises(ConfigError, match="another run, or a training that one left behind"):
        run()


def test_threads_are_divided_among_jobs(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)
    assert [training_environment(jobs)["OMP_NUM_THREADS"] for jobs in (1, 3, 20)] == ["8", "2", "1"]
    assert training_environment(2, threads=3)["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert training_environment(4)["OMP_NUM_THREADS"] == "5"
    assert training_environment(4, threads=1)["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("wrong", [{"jobs": 0}], ids=["no_jobs"])
def test_numbers_out_of_range(run, wrong):
    with pytest.raises(ConfigError, match="must be 1 or more"):
        run(**wrong)


def test_commands_of_a_fold(run, tmp_path):
    from ctc_mm.engine.runs.run_folder import RunFolder

    fold = RunFolder(tmp_path / "fold_0")
    words = RunCommands(trust=True, other_images=True)
    assert words.train(fold, resume=True)[1:] == [
        str(words.tools / "train.py"), str(fold.config), "--work-dir", str(fold.model), "--resume",
        "--trust-checkpoint",
    ]  # fmt: skip
    assert words.test(fold, Path("best.pth"))[2:] == [
        str(fold.config), "best.pth", "--out", str(fold.test), "--speed-images", "0", "--other-images",
        "--trust-checkpoint",
    ]  # fmt: skip
    with pytest.raises(ImportError, match="tools/train.py is not there"):
        dataclasses.replace(words, tools=tmp_path)
