"""What TensorBoard and MLflow hold after a training, and what is said where they are missing."""

import importlib.util

import pytest
from mlflow.tracking import MlflowClient
from mmengine.config import Config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_cells import draw_cells, write_config
from tool_runs import train

from ctc_mm.engine.tracking import TRACKERS, add_trackers, check_trackers, without_trackers
from ctc_mm.errors import ConfigError, InstallationError


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracked")
    return write_config(folder / "tiny.py", draw_cells(folder / "cells"))


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    work_dir = train(config, tmp_path_factory.mktemp("runs") / "light", "--track", "tensorboard", "mlflow")
    yield work_dir
    patch.undo()


def test_tensorboard_has_the_curves(trained):
    events = EventAccumulator(str(next(trained.rglob("events.out.tfevents.*")).parent)).Reload()
    assert len(events.Scalars("loss")) == 4
    assert [one.step for one in events.Scalars("ctc/balanced_log_loss")] == [1, 2]
    assert "config" in " ".join(events.Tags()["tensors"])


def test_mlflow_has_a_run_in_a_store_beside_the_work_dir(trained):
    client = MlflowClient(tracking_uri=(trained.parent / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("ctc_mm").experiment_id])
    assert run.info.run_name == "light"
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "ctc/balanced_log_loss")
    assert [one.step for one in history] == [1, 2]
    assert "ctc/F1_at_youden" in run.data.metrics  # MLflow takes no @ in a name
    assert run.data.params["model.backbone.depth"] == "18"
    assert "config.py" in [one.path for one in client.list_artifacts(run.info.run_id)]
    assert not list(trained.rglob("mlruns"))


def test_a_server_named_by_the_variable_wins(config, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "elsewhere").as_uri())
    train(config, tmp_path / "run", "--track", "mlflow", "--cfg-options", "train_cfg.max_epochs=1")
    assert MlflowClient().get_experiment_by_name("ctc_mm") is not None
    assert (tmp_path / "elsewhere").is_dir()
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_configs_and_command_line_name_the_same(repo, tmp_path, name):
    by_hand = Config.fromfile(repo / f"configs/_base_/tracking/{name}.py")[name]
    by_option = Config(dict(visualizer=dict(type="Visualizer", vis_backends=[])))
    add_trackers(by_option, [name, name])
    assert by_option.visualizer.vis_backends == [by_hand]
    leaf = tmp_path / "leaf.py"
    leaf.write_text(
        f"_base_ = [{str(repo / 'configs/classification/light_cells.py')!r},\n"
        f"          {str(repo / f'configs/_base_/tracking/{name}.py')!r}]\n"
        f"visualizer = dict(vis_backends=[*_base_.vis_backends, _base_.{name}])\n"
    )
    config = Config.fromfile(leaf)
    assert [one.type for one in config.visualizer.vis_backends] == ["LocalVisBackend", by_hand.type]
    without_trackers(config)
    assert [one.type for one in config.visualizer.vis_backends] == ["LocalVisBackend"]


def test_no_tracker_changes_nothing():
    config = Config(dict(visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])))
    before = config.to_dict()
    add_trackers(config, [])
    check_trackers(config)
    assert config.to_dict() == before


def test_an_unknown_tracker_is_refused():
    with pytest.raises(ConfigError, match="no tracker 'wandb'; there are tensorboard, mlflow"):
        add_trackers(Config(dict()), ["wandb"])


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch, name):
    config = Config(dict())
    add_trackers(config, [name])
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(InstallationError, match=rf"the package {name}, .*pip install 'ctc_mm\[tracking\]'"):
        check_trackers(config)
