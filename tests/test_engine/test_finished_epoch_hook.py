"""An epoch counts as finished once it is validated, and an interrupted training goes on after it."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from tiny_training import build_runner

from ctc_mm.engine.hooks.finished_epoch_hook import NOTE_FILE
from ctc_mm.engine.runs.run_folder import resume_point
from ctc_mm.registry import HOOKS

SAVED = {"save_best": "ctc/AP50_CTC", "rule": "greater"}
CHECKPOINT = {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 2, **SAVED}


class Killed(Exception):  # noqa: N818
    """Stands for SIGKILL at a chosen moment."""


@MMENGINE_HOOKS.register_module(force=True)
class KillHook(Hook):
    """Stops a training at a moment after so many epochs."""

    priority = "HIGHEST"

    def __init__(self, moment, epoch):
        setattr(self, moment, lambda runner, **_: self.kill(runner, epoch))

    @staticmethod
    def kill(runner, epoch):
        if runner.epoch == epoch:
            raise Killed


def train(work_dir, scores, hooks=(), **options):
    runner = build_runner(
        work_dir, max_epochs=4, scores=scores, hooks=[{"type": "ctc_mm.FinishedEpochHook"}, *hooks],
        default_hooks={"checkpoint": CHECKPOINT}, **options,
    )  # fmt: skip
    runner.train()
    return runner


def test_last_epoch_is_noted(tmp_path):
    train(tmp_path, [0.1])
    assert (tmp_path / NOTE_FILE).read_text() == "4\n"


@pytest.mark.parametrize(
    ("moment", "epoch", "expected"),
    [("before_val_epoch", 3, "epoch_2.pth"), ("before_train_iter", 3, "epoch_3.pth")],
    ids=["before_validation", "in_the_next_epoch"],
)
def test_epoch_without_validation_is_done_again(tmp_path, moment, epoch, expected):
    # The third epoch is the best: MMEngine, resumed from its checkpoint, would never learn that.
    scores = [0.1, 0.2, 0.9, 0.3]
    with pytest.raises(Killed):
        train(tmp_path, scores, [{"type": "KillHook", "moment": moment, "epoch": epoch}])
    assert (tmp_path / "epoch_3.pth").is_file()
    checkpoint, reason = resume_point(tmp_path)
    assert (checkpoint.name, reason) == (expected, "")
    assert (tmp_path / "last_checkpoint").read_text().endswith(expected)
    train(tmp_path, scores, resume=True)
    assert [path.name for path in tmp_path.glob("best_*.pth")] == ["best_ctc_AP50_CTC_epoch_3.pth"]


def test_half_written_or_lost_best_weights_start_anew(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, [0.1, 0.2], [{"type": "KillHook", "moment": "before_train_iter", "epoch": 2}])
    best = tmp_path / "best_ctc_AP50_CTC_epoch_2.pth"
    whole = best.read_bytes()
    best.write_bytes(whole[: len(whole) // 2])
    assert resume_point(tmp_path) == (None, "it was killed while it replaced its best weights")
    best.write_bytes(whole)
    assert resume_point(tmp_path)[0].name == "epoch_2.pth"
    stray = tmp_path / "best_ctc_AP50_CTC_epoch_3.pth"
    stray.write_bytes(whole)  # of an epoch that is done again
    assert resume_point(tmp_path)[0].name == "epoch_2.pth"
    assert not stray.exists()
    best.unlink()
    assert resume_point(tmp_path)[0] is None


def test_nothing_to_go_on_from(tmp_path):
    assert resume_point(tmp_path / "none") == (None, "")
    assert resume_point(tmp_path)[1] == "it had finished no epoch of which a checkpoint is left"
    (tmp_path / NOTE_FILE).write_text("2\n")
    assert resume_point(tmp_path)[0] is None
    (tmp_path / "epoch_2.pth").write_bytes(b"half")
    assert "its checkpoint cannot be read" in resume_point(tmp_path)[1]


def test_training_by_iterations_goes_on_from_its_last_checkpoint(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "iter_7.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_7.pth"))
    assert resume_point(tmp_path)[0].name == "iter_7.pth"


def test_nothing_is_noted_before_the_first_epoch_ends(tmp_path):
    hook = HOOKS.build({"type": "ctc_mm.FinishedEpochHook"})
    hook.before_train_epoch(SimpleNamespace(epoch=0, work_dir=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []
