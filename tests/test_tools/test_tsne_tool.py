"""tools/tsne.py on a small classifier and a small detector: files, contents, saved maps, exit codes."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner.checkpoint import CheckpointLoader

from ctc_mm.cli import run_cli
from ctc_mm.engine.setup import register_all_modules

sys.path.insert(0, str(Path(__file__).parents[1] / "test_engine"))
from tiny_cells import draw_cells, write_config  # noqa: E402
from tiny_fields import draw_fields, write_field_config  # noqa: E402

QUICK = ("--perplexity", "4", "--iterations", "250", "--jobs", "1")
AUGMENTED = """
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ctc_mm.AugmentToN', n=14, dataset=dict(**dataset, split='train', pipeline=[load]),
        augment=[dict(type='RandomFlip', prob=1.0)], pipeline=[pack]))
"""


@pytest.fixture(scope="module")
def tool(repo):
    spec = importlib.util.spec_from_file_location("tsne_tool", repo / "tools" / "tsne.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _checkpoint_policy_restored(monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    schemes = dict(CheckpointLoader._schemes)
    yield
    CheckpointLoader._schemes = schemes


def save_weights(config_path, path, seed=0):
    config = Config.fromfile(config_path)
    register_all_modules(config.default_scope)
    torch.manual_seed(seed)
    model = MODELS.build(config.model)
    if config.default_scope == "mmdet":
        for parameter in model.bbox_head.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=("CTC", "WBC")))), path)
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    config = write_config(folder / "tiny.py", draw_cells(folder / "set"), AUGMENTED)
    return config, save_weights(config, folder / "tiny.pth")


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    config = write_field_config(folder / "ssd.py", draw_fields(folder / "set"))
    return config, save_weights(config, folder / "ssd.pth")


def run(tool, trained, out, *words):
    return run_cli(tool.main, [*map(str, trained), "--out", str(out), *map(str, words)])


def rows_of(folder):
    with (folder / "tsne.csv").open() as file:
        return list(csv.DictReader(file))


def test_panels_of_the_paper_by_default(tool, classifier, tmp_path, capsys):
    assert run(tool, classifier, tmp_path, *QUICK) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"tsne.png", "tsne.html", "tsne.csv", "metrics.json", "map.npz"}
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics["layers"]) == ["input", "conv5", "conv7", "last_fc"]
    assert metrics["samples"] == {"CTC": 7, "WBC": 8}
    assert metrics["title"] == "tiny, test"
    rows = rows_of(tmp_path)
    assert [row["label"] for row in rows] == ["CTC"] * 7 + ["WBC"] * 8
    assert rows[0]["path"].endswith("test_CTC_000__brightfield.png")
    text = capsys.readouterr().out
    assert "t-SNE of 7 CTC, 8 WBC" in text
    assert "last_fc: KL divergence " in text


def test_same_command_gives_the_same_bytes(tool, classifier, tmp_path):
    for name in ("first", "second"):
        assert run(tool, classifier, tmp_path / name, *QUICK, "--layers", "conv5", "pre_logits", "--seed", "3") == 0
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_training_part_shows_augmented_copies(tool, classifier, tmp_path):
    assert run(tool, classifier, tmp_path, *QUICK, "--part", "train", "--layers", "input", "--method", "sklearn") == 0
    rows = rows_of(tmp_path)
    assert [row["copy_index"] for row in rows] == ["0"] * 24 + ["1"] * 4
    assert json.loads((tmp_path / "metrics.json").read_text())["copies"] == 4


def test_fewer_samples_are_drawn_by_class_and_said(tool, classifier, tmp_path, capsys):
    assert run(tool, classifier, tmp_path, *QUICK, "--max-samples", "6", "--layers", "pre_logits") == 0
    assert len(rows_of(tmp_path)) == 6
    assert "6 of 15 samples drawn by chance" in capsys.readouterr().out


def test_new_samples_are_placed_into_a_saved_map(tool, classifier, tmp_path, capsys):
    assert run(tool, classifier, tmp_path / "map", *QUICK, "--layers", "input", "pre_logits") == 0
    saved = tmp_path / "map" / "map.npz"
    before = saved.read_bytes()
    assert run(tool, classifier, tmp_path / "placed", "--map", saved, "--part", "val") == 0
    assert saved.read_bytes() == before
    rows = rows_of(tmp_path / "placed")
    assert [row["cell_id"] for row in rows][:1] == ["val_CTC_000"]
    assert len(rows) == 11
    metrics = json.loads((tmp_path / "placed" / "metrics.json").read_text())
    assert metrics["setting"]["map_samples"] == 15
    assert 0 <= metrics["layers"]["input"]["agreement"]["all"] <= 1
    assert not (tmp_path / "placed" / "map.npz").exists()
    assert "of the neighbours in the map have the new cell's class" in capsys.readouterr().out


def test_map_of_other_weights_or_layers_is_refused(tool, classifier, tmp_path, capsys):
    assert run(tool, classifier, tmp_path / "map", *QUICK, "--layers", "pre_logits") == 0
    saved = tmp_path / "map" / "map.npz"
    other = save_weights(classifier[0], tmp_path / "other.pth", seed=1)
    assert run(tool, (classifier[0], other), tmp_path / "out", "--map", saved) == 1
    assert "the map was made with other weights" in capsys.readouterr().err
    assert run(tool, classifier, tmp_path / "out", "--map", saved, "--layers", "input") == 1
    assert "the layers of the map are pre_logits; leave --layers out" in capsys.readouterr().err
    assert run(tool, classifier, tmp_path / "out", "--map", tmp_path / "none.npz") == 1
    assert "none.npz: no such map" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_boxes_of_a_detector(tool, detector, tmp_path):
    point = "ctc_mm.explain.trained.DEFAULT_SCORE_THR"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(point, 0.0)
        assert run(tool, detector, tmp_path, *QUICK, "--layers", "neck", "neck[1]", "input") == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics["layers"]) == ["neck", "neck[1]", "input"]
    assert list(metrics["samples"]) == ["CTC", "WBC", "false positive"]
    rows = rows_of(tmp_path)
    assert len(rows) == sum(metrics["samples"].values())
    assert {row["group"] for row in rows} <= {f"slide{number}" for number in range(6)}
    assert all(float(row["x1"]) > float(row["x0"]) for row in rows)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--layers", "conv99"), "the model has no layer 'conv99'. Valid names: input, conv1 to conv17"),
        (("--perplexity", "0"), "`perplexity` must be a number of at least 1; received 0.0"),
        (("--max-samples", "2"), "`max_samples` must be a whole number of at least 4"),
        (("--cfg-options", "test_dataloader.dataset.split=nowhere"), "no cell is left"),
    ],
)
def test_mistakes_are_one_line_and_exit_1(tool, classifier, tmp_path, capsys, words, message):
    assert run(tool, classifier, tmp_path / "out", *words) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("words", [("--part", "everything"), ("--method", "umap"), ("--learning-rate", "fast")])
def test_bad_usage_is_exit_2(tool, classifier, tmp_path, words):
    with pytest.raises(SystemExit) as stopped:
        run(tool, classifier, tmp_path, *words)
    assert stopped.value.code == 2
