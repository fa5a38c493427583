import math
from types import SimpleNamespace

import pytest
from mmengine.hooks import EarlyStoppingHook
from tiny_training import build_runner, pretrained, save_backbone

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.errors import ConfigError
from ctc_mm.registry import HOOKS

AP50 = "ctc/AP50_CTC"
FLAT = [0.5]


def stopping(**options):
    return {"type": "ctc_mm.DelayedEarlyStoppingHook", "monitor": AP50, "patience": 3} | options


def train(work_dir, scores, max_epochs=12, hooks=(), **options):
    """Train until the end or the stop; return the runner and the epochs that were validated."""
    runner = build_runner(work_dir, max_epochs, hooks=hooks, scores=scores, **options)
    runner.train()
    return runner, runner.val_loop.evaluator.metrics[0].validated_epochs


def log_of(work_dir):
    return "".join(path.read_text() for path in sorted(work_dir.glob("*/*.log")))


def test_no_epoch_trained_validates_and_counts_nothing(tmp_path):
    hook = HOOKS.build(stopping())
    runner = build_runner(tmp_path, scores=FLAT, hooks=[hook])
    runner.val()
    assert hook.scores == []
    assert math.isinf(hook.best_score)


@pytest.mark.parametrize(
    ("scores", "options", "last_epoch"),
    [
        (FLAT, {}, 4),  # the first counts as the best, then three without improvement
        (FLAT, {"begin_epoch": 2}, 6),
        (FLAT, {"patience": 1}, 2),
        ([0.1, 0.1005, 0.1009, 0.1008], {}, 4),  # less than min_delta above the best
        ([0.1, 0.1005, 0.1011, 0.1011], {}, 6),  # slow, but 0.0011 above the best after two epochs
        ([0.1, 0.15, 0.2, 0.25, 0.3, 0.3], {}, 8),  # MMEngine's min_delta of 0.1 would stop at epoch 4
        ([0.9, 0.9, 0.1, 0.2, 0.2], {"begin_epoch": 2}, 7),  # the fall after unfreezing is no reason to stop
        ([0.9, 0.8, 0.8], {"rule": "less"}, 5),
        ([0.1, float("nan")], {}, 2),
        ([0.1, float("nan"), 0.2, 0.2], {"check_finite": False}, 6),
        ([0.1, 0.2, 0.96], {"stopping_threshold": 0.95}, 3),
    ],
)
def test_the_epoch_of_the_stop(tmp_path, scores, options, last_epoch):
    runner, validated = train(tmp_path, scores, hooks=[stopping(**options)])
    assert runner.epoch == last_epoch
    assert validated == list(range(1, last_epoch + 1))
    assert f"early stopping after epoch {last_epoch}: " in log_of(tmp_path)


def test_mmengines_default_would_stop_a_learning_detector(tmp_path):
    hook = EarlyStoppingHook(AP50, rule="greater", patience=3)
    runner, _ = train(tmp_path, [0.1, 0.15, 0.2, 0.25, 0.3, 0.3], hooks=[hook])
    assert runner.epoch < 8


def test_patience_counts_validations(tmp_path):
    by_two = {"by_epoch": True, "max_epochs": 20, "val_interval": 2}
    runner, validated = train(tmp_path, FLAT, hooks=[stopping()], train_cfg=by_two)
    assert validated == [2, 4, 6, 8]
    assert runner.epoch == 8


@pytest.mark.parametrize("freeze_first", [True, False], ids=["freeze first", "stopping first"])
def test_counting_begins_after_the_frozen_phase(tmp_path, freeze_first):
    freezing = {"type": "ctc_mm.FreezeBackboneHook", "epochs": 3}
    hooks = [freezing, stopping()] if freeze_first else [stopping(), freezing]
    init = pretrained(save_backbone(tmp_path / "w.pth"))
    runner, _ = train(tmp_path, FLAT, hooks=hooks, backbone_init=init)
    assert runner.epoch == 7


RESUMED = {
    "flat": (FLAT, {}),
    "begun late": (FLAT, {"begin_epoch": 2}),
    "rising, then flat": ([0.1, 0.2, 0.3, 0.3], {}),
    "falling": ([0.4, 0.3, 0.2, 0.1], {}),
    "every second epoch": (FLAT, {"val_interval": 2}),
}


@pytest.mark.parametrize(("stop_after", "save_best"), [(1, None), (2, AP50), (3, None)])
@pytest.mark.parametrize(("scores", "options"), RESUMED.values(), ids=RESUMED)
def test_a_resumed_run_stops_where_an_unbroken_one_does(tmp_path, scores, options, stop_after, save_best):
    options = dict(options)
    val_interval = options.pop("val_interval", 1)

    def run(work_dir, max_epochs, **resume):
        checkpoint = {"type": "CheckpointHook", "interval": 1, "save_best": save_best, "rule": "greater"}
        loop = {"by_epoch": True, "max_epochs": max_epochs, "val_interval": val_interval}
        defaults = {"checkpoint": checkpoint}
        return train(work_dir, scores, hooks=[stopping(**options)], train_cfg=loop, default_hooks=defaults, **resume)[0]

    unbroken = run(tmp_path / "a", 12)
    run(tmp_path / "b", stop_after)
    resumed = run(tmp_path / "b", 12, resume=True)
    assert unbroken.epoch < 12
    assert resumed.epoch == unbroken.epoch


def test_a_stopped_run_stays_stopped_on_resume(tmp_path):
    first, _ = train(tmp_path, FLAT, hooks=[stopping()])
    second, _ = train(tmp_path, FLAT, hooks=[stopping()], resume=True)
    assert first.epoch == second.epoch == 4


def test_more_patience_on_resume_goes_on(tmp_path):
    train(tmp_path, FLAT, hooks=[stopping()])
    second, _ = train(tmp_path, FLAT, hooks=[stopping(patience=5)], resume=True)
    assert second.epoch == 6


def test_load_from_counts_from_zero(tmp_path):
    train(tmp_path / "a", FLAT, max_epochs=3, hooks=[stopping()])
    path = tmp_path / "a" / "epoch_3.pth"
    assert load_checkpoint_safely(path)["early_stopping"] == {"monitor": AP50, "scores": [[1, 0.5], [2, 0.5]]}
    runner, _ = train(tmp_path / "b", FLAT, hooks=[stopping()], load_from=str(path))
    assert runner.epoch == 4


def test_a_misspelt_metric_is_an_error_that_lists_the_known(tmp_path):
    with pytest.raises(ConfigError, match=f"no metric `ctc/ap`; the validation gave {AP50}"):
        train(tmp_path, FLAT, hooks=[stopping(monitor="ctc/ap")])


def test_a_missing_metric_may_be_passed_over(tmp_path):
    runner, _ = train(tmp_path, FLAT, max_epochs=2, hooks=[stopping(monitor="ctc/ap", strict=False)])
    assert runner.epoch == 2
    assert "no metric `ctc/ap`" in log_of(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"begin_epoch": -1}, "`begin_epoch` must be"),
        ({"begin_epoch": 1.5}, "`begin_epoch` must be"),
        ({"patience": 0}, "`patience` must be"),
        ({"min_delta": -0.1}, "`min_delta` must be"),
        ({"rule": "more"}, "`rule` should be"),
        ({"monitor": "ctc/speed"}, "rule"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        HOOKS.build(stopping(**options))


def test_without_validation_it_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no val_dataloader"):
        build_runner(tmp_path, hooks=[stopping()]).train()


def test_testing_alone_builds_no_training_set(tmp_path):
    runner = build_runner(tmp_path, scores=FLAT, hooks=[stopping()])
    runner.val_loop.evaluator.metrics[0].runner = SimpleNamespace(epoch=1)
    runner.val()
    assert isinstance(runner._train_loop, dict)
