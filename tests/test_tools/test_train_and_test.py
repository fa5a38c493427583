"""The two commands a user types: train the headline config, then test its checkpoint."""

import json
import re
import subprocess
import sys

import pytest
import torch
import torchvision
from called_tool import call

from ctc_mm.phantoms import BrightfieldPhantomConfig, write_labelme_set


def run(repo, *words):
    return subprocess.run([sys.executable, *map(str, words)], cwd=repo, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def data(repo, tmp_path_factory):
    """A tiny phantom, converted by the project's own converter."""
    root = tmp_path_factory.mktemp("ctc")
    config = BrightfieldPhantomConfig(image_wh=(300, 300), ctc_count=(1, 3), wbc_count=(1, 3))
    write_labelme_set(root / "images", {"train": 4, "val": 2, "test": 2}, config)
    for split in ("train", "val", "test"):
        words = ["--images", root / "images", "--um-per-px", "0.6", "--out", root / f"{split}.json"]
        done = call(repo, "labelme_to_coco", root / "images" / split, *words, folder="data_converters")
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A VGG16 file as torchvision's, random; it stands for the download."""
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.manual_seed(0)
    model = torchvision.models.vgg16(weights=None)
    torch.save({name: value for name, value in model.state_dict().items() if name.startswith("features.")}, path)
    return path


HEADLINE = "configs/ssd_cbam_vgg16_ctc.py"


@pytest.fixture(scope="module")
def trained(repo, data, weights, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("work")
    done = run(
        repo, "tools/train.py", HEADLINE, "--work-dir", work_dir, "--cfg-options", f"data_root={data}/",
        f"model.backbone.init_cfg.checkpoint={weights}", "train_cfg.max_epochs=1", "train_dataloader.batch_size=2",
        "train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False", "val_dataloader.num_workers=0",
        "val_dataloader.persistent_workers=False",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return work_dir


def test_two_iterations_of_the_headline_config(trained):
    checkpoint = torch.load(trained / "epoch_1.pth", weights_only=False)
    assert checkpoint["meta"]["iter"] == 2
    assert checkpoint["meta"]["dataset_meta"]["classes"] == ("CTC", "WBC")
    assert checkpoint["meta"]["dataset_meta"]["um_per_px"] == 0.6
    scalars = [json.loads(line) for line in next(trained.rglob("scalars.json")).read_text().splitlines()]
    assert any("ctc/mAP50" in line for line in scalars)


def test_backbone_was_frozen_at_the_weights_given(trained, weights):
    state, given = torch.load(trained / "epoch_1.pth", weights_only=False)["state_dict"], torch.load(weights)
    for index in (0, 28):
        torch.testing.assert_close(state[f"backbone.features.{index}.weight"], given[f"features.{index}.weight"])


def test_tools_test_on_the_checkpoint(repo, data, trained, tmp_path):
    done = run(
        repo, "tools/test.py", HEADLINE, trained / "epoch_1.pth", "--out", tmp_path, "--speed-images", "1",
        "--cfg-options", f"data_root={data}/", "test_dataloader.num_workers=0", "val_dataloader.num_workers=0",
        "test_dataloader.persistent_workers=False", "val_dataloader.persistent_workers=False",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    truth = json.loads((data / "test.json").read_text())
    for label, name in ((1, "CTC"), (2, "WBC")):
        count = sum(a["category_id"] == label for a in truth["annotations"])
        assert metrics["per_class"][name]["truth"] == count
    assert metrics["images"] == 2
    assert json.loads((tmp_path / "speed.json").read_text())["model_alone"]["fps"] > 0
    assert (tmp_path / "pr_curve.png").stat().st_size > 1000
    assert (tmp_path / "pr_CTC.csv").is_file()


def test_a_threshold_that_is_not_stored_is_chosen_on_validation(repo, data, trained, tmp_path):
    checkpoint = torch.load(trained / "epoch_1.pth", weights_only=False)
    checkpoint["meta"].pop("ctc_operating_point", None)
    torch.save(checkpoint, tmp_path / "bare.pth")
    done = run(
        repo, "tools/test.py", HEADLINE, tmp_path / "bare.pth", "--out", tmp_path / "out", "--speed-images", "0",
        "--cfg-options", f"data_root={data}/", "test_dataloader.num_workers=0", "val_dataloader.num_workers=0",
        "test_dataloader.persistent_workers=False", "val_dataloader.persistent_workers=False",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "choosing it on the validation set" in done.stdout
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["images"] == 2


def test_weights_of_another_model_are_refused(repo, data, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(repo)
    # MMEngine's runner would warn, and test a head behind random features.
    done = call(
        repo, "test", "configs/ablation/ssd_attention.py", trained / "epoch_1.pth", "--out", tmp_path,
        "--cfg-options", f"data_root={data}/",
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"epoch_1\.pth: its weights do not fit the config.*neck\.2", done.stderr), done.stderr[-2000:]
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    ("script", "words", "code", "message"),
    [
        ("train", [], 2, "required: config"),
        ("train", ["configs/nothing.py"], 1, "configs/nothing.py: no such config"),
        ("train", [HEADLINE, "--cfg-options", "optim_wrapperr.lr=1"], 1, "has no `optim_wrapperr`"),
        ("train", [HEADLINE, "--cfg-options", "lr"], 2, "KEY=VALUE"),
        ("train", [HEADLINE, "--cfg-options", "model.backbone.init_cfg.checkpoint=no/such.pth"], 1,
         "no/such.pth.*--cfg-options model.backbone.init_cfg.checkpoint=FILE.*--from-scratch"),
        ("train", [HEADLINE, "--resume", "--work-dir", "no/such/run"], 1, "no/such/run: no checkpoint to resume from"),
        ("test", [HEADLINE, "no/such.pth"], 1, "no/such.pth"),
    ],
    ids=["usage", "no_config", "unknown_option", "no_pair", "no_weights", "no_resume", "no_checkpoint"],
)  # fmt: skip
def test_mistakes_end_with_a_line_that_helps(repo, monkeypatch, script, words, code, message):
    monkeypatch.chdir(repo)
    done = call(repo, script, *words)
    assert done.returncode == code, done.stderr
    assert re.search(message, done.stderr, re.DOTALL), done.stderr
    assert "Traceback" not in done.stderr
