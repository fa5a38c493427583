"""Logs of trainings: found, joined over resumes, told apart, averaged, drawn."""

import json

import cv2
import numpy as np
import pytest

from ctc_mm.engine.curves import drawing
from ctc_mm.engine.curves.collect import by_model, chosen_names, find_runs, names_of, runs_csv
from ctc_mm.engine.curves.drawing import draw_curves, summary_lines
from ctc_mm.engine.curves.learning_curves import read_curves
from ctc_mm.engine.hooks.validation_loss_hook import VALIDATION_LOSS
from ctc_mm.errors import ConfigError


def write_log(work_dir, stamp, epochs, loss, ap=None, config=None):
    """One start of a training: two losses an epoch, AP and validation loss after each."""
    folder = work_dir / stamp / "vis_data"
    folder.mkdir(parents=True)
    lines = []
    for epoch in epochs:
        lines += [{"loss": value, "epoch": epoch, "step": epoch * 2} for value in (loss + 1 / epoch, loss / epoch)]
        if ap is not None:
            lines += [{VALIDATION_LOSS: 2 * loss / epoch, "step": epoch}, {"ctc/mAP50": ap * epoch, "step": epoch}]
    (folder / "scalars.json").write_text("\n".join(map(json.dumps, lines)) + "\n")
    if config is not None:
        (work_dir / "config.py").write_text(config)
    return work_dir


def test_a_resume_takes_the_place_of_what_it_repeats(tmp_path):
    write_log(tmp_path, "20260101_000000", (1, 2, 3), 6.0, 0.1)
    write_log(tmp_path, "20260102_000000", (3, 4), 12.0, 0.2)
    curves = read_curves(tmp_path)
    assert curves["loss"] == {1: 6.0, 2: 3.0, 3: 4.0, 4: 3.0}
    assert curves["ctc/mAP50"] == pytest.approx({1: 0.1, 2: 0.2, 3: 0.6, 4: 0.8})


def test_a_training_begun_anew_ends_the_one_before(tmp_path):
    write_log(tmp_path, "20260101_000000", (1, 2, 3, 4), 6.0, 0.1)
    write_log(tmp_path, "20260102_000000", (1, 2), 12.0)
    assert read_curves(tmp_path) == {"loss": {1: 12.0, 2: 6.0}}


def test_a_log_that_was_cut_short_counts_as_far_as_it_goes(tmp_path):
    path = write_log(tmp_path, "20260101_000000", (1, 2), 6.0) / "20260101_000000" / "vis_data" / "scalars.json"
    path.write_text(path.read_text()[:-20])
    assert read_curves(tmp_path)["loss"] == {1: 6.0, 2: 6.5}  # of epoch 2 the first line alone


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("ssd/seed_1/model", ("ssd", "seed_1")),
        ("ssd/seed_1", ("ssd", "seed_1")),
        ("work_dirs/ssd_seed_2", ("ssd", "seed_2")),
        ("work_dirs/ssd", ("ssd", "")),
        ("ssd/seed_of_doubt", ("seed_of_doubt", "")),
    ],
)
def test_names_from_places(tmp_path, place, names):
    assert names_of(tmp_path / place) == names


CONFIG = (
    "randomness = dict(seed={seed})\nmodel = dict(depth={depth})\nwork_dir = 'runs/{seed}'\n"
    "test_evaluator = dict(type='Tested{seed}Otherwise')\n"
)


@pytest.fixture
def seeds(tmp_path):
    """Two seeds of one model and one of another, as a comparison leaves them."""
    for seed, loss in ((0, 4.0), (1, 6.0)):
        config = CONFIG.format(seed=seed, depth=18)
        write_log(tmp_path / f"small/seed_{seed}/model", "20260101_000000", (1, 2), loss, 0.2 + 0.1 * seed, config)
    write_log(tmp_path / "large/seed_0/model", "20260101_000000", (1, 2), 8.0, 0.4, CONFIG.format(seed=0, depth=50))
    return tmp_path


def test_trainings_of_a_comparison_are_found(seeds):
    runs = find_runs([str(seeds)])
    assert [(run.model, run.run) for run in runs] == [("large", "seed_0"), ("small", "seed_0"), ("small", "seed_1")]
    assert {name: len(members) for name, members in by_model(runs).items()} == {"large": 1, "small": 2}
    named = find_runs([f"mine={seeds / 'large'}", str(seeds / "small/seed_1/model")])
    assert [(run.model, run.run) for run in named] == [("mine", "seed_0"), ("small", "seed_1")]


def test_what_is_no_seed_of_one_training_is_not_averaged(seeds):
    runs = find_runs([f"one={seeds}"])
    with pytest.raises(ConfigError, match=r"one: .* are no two seeds of one training, since `model.depth` is 50"):
        by_model(runs)
    assert draw_curves(runs, ["loss"])[:4] == b"\x89PNG"  # side by side they may be drawn


def test_mistakes_are_named(seeds, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        find_runs([str(tmp_path / "nowhere")])
    with pytest.raises(ConfigError, match=r"empty: no scalars\.json with a training's losses"):
        find_runs([str(empty)])
    with pytest.raises(ConfigError, match="named twice"):
        find_runs([str(seeds), str(seeds / "large")])
    with pytest.raises(ConfigError, match=r"no training has a curve ctc/F1\. There are: ctc/mAP50, ctc/val"):
        chosen_names(find_runs([str(seeds)]), ["loss", "ctc/F1"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"loss": 2.0, "epoch": 1, "step": 1}\n{"loss": null, "epoch": 2, "step": 2}',
            r"scalars\.json: line 2 is",
        ),
        (b'{"loss": 2.0, "epoch": "one", "step": 1}', r"scalars\.json: line 1 is damaged .*'one'"),
        (b'{"ctc/mAP50": 0.5, "step": null}', r"scalars\.json: line 1 is damaged"),
        (b"\xff\xfe", r"scalars\.json: is no text"),
    ],
    ids=["no_loss", "epoch", "step", "bytes"],
)
def test_a_damaged_log_is_named(tmp_path, content, message):
    folder = tmp_path / "20260101_000000" / "vis_data"
    folder.mkdir(parents=True)
    (folder / "scalars.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_curves(tmp_path)


@pytest.mark.parametrize("place", ["ssd=", "=", "=."])
def test_half_a_name_is_no_folder(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an empty path would be this one
    with pytest.raises(ConfigError, match="NAME=WORK_DIR takes both"):
        find_runs([place])


def test_what_is_told_and_written(seeds):
    runs = find_runs([str(seeds / "small")])
    names = chosen_names(runs, None)
    assert names == ["loss", VALIDATION_LOSS, "ctc/mAP50"]
    assert summary_lines(runs, names) == [
        "small seed_0: 2 epochs, loss 2.000, validation_loss 4.000, best mAP50 0.400 after epoch 2",
        "small seed_1: 2 epochs, loss 3.000, validation_loss 6.000, best mAP50 0.600 after epoch 2",
    ]
    lines = runs_csv(runs).splitlines()
    assert lines[0] == "model,run,name,epoch,value"
    assert "small,seed_1,loss,2,3.0" in lines
    assert len(lines) == 1 + 2 * 3 * 2


def drawn(runs, names, average=False):
    return cv2.imdecode(np.frombuffer(draw_curves(runs, names, average), np.uint8), cv2.IMREAD_COLOR)


def test_the_picture_has_a_panel_a_curve_and_a_band(seeds):
    runs = find_runs([str(seeds)])
    names = chosen_names(runs, None)
    one, two = drawn(runs, ["loss"]), drawn(runs, names)
    assert two.shape[1] > 1.8 * one.shape[1]  # both losses share a panel, AP has one
    assert one.shape[0] == two.shape[0]
    band = drawn(runs, ["loss"], average=True)
    # The band of the second model is its colour, much paler.
    pale = np.abs(band.astype(int) - (255 - 0.2 * (255 - np.array([14, 127, 255])))).max(axis=2) <= 6
    assert pale.sum() > 500
    assert np.array_equal(band, drawn(runs, ["loss"], average=True))


@pytest.mark.parametrize(
    ("losses", "scale"), [((3.0, 20.0), "linear"), ((3.0, 400.0), "log"), ((0.0, 400.0), "linear")]
)
def test_losses_of_different_models_can_be_read_in_one_panel(monkeypatch, tmp_path, losses, scale):
    for name, loss in zip("ab", losses, strict=True):
        (tmp_path / name / "20260101_000000" / "vis_data").mkdir(parents=True)
        record = json.dumps({"loss": loss, "epoch": 1, "step": 1})
        (tmp_path / name / "20260101_000000" / "vis_data" / "scalars.json").write_text(record + "\n")
    figures = []
    monkeypatch.setattr(drawing, "png_bytes", figures.append)
    drawing.draw_curves(find_runs([str(tmp_path / "a"), str(tmp_path / "b")]), ["loss"])
    assert figures[0].axes[0].get_yscale() == scale
