"""The light config trains straight from unlabelled imFISH fields, with loader workers, and is validated and tested."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.engine.testing import evaluate
from ctc_mm.phantoms import ImFISHPhantomConfig, write_imfish_fields


@pytest.fixture
def config(repo, tmp_path):
    phantom = ImFISHPhantomConfig(
        image_wh=(400, 320), ctc_count=(3, 3), wbc_count=(4, 4), other_count=(1, 1), aggregate_count=(0, 0)
    )
    for seed, split in enumerate(("train", "val", "test")):
        write_imfish_fields(tmp_path / "data" / split, {f"{split}1": 1}, phantom, seed=seed)
    register_all_modules()
    options = {"data_root": f"{tmp_path}/data/", "train_cfg.max_epochs": 1, "train_cfg.val_interval": 1}
    for split in ("train", "val", "test"):
        options[f"{split}_dataloader.batch_size"] = 2
        options[f"{split}_dataloader.num_workers"] = 0
        options[f"{split}_dataloader.persistent_workers"] = False
    config = load_config(repo / "configs/lite/ssdlite_cbam_mobilenetv2_imfish.py", options, tmp_path / "work")
    config.train_dataloader.num_workers = 2  # each judges the field for itself, or finds it in the cache
    for split in ("train", "val", "test"):
        for step in config[f"{split}_dataloader"].dataset.pipeline:
            if step.type == "ctc_mm.LabelCEP8":
                step.cache_dir = str(tmp_path / "cache")
    return config


def test_light_config_learns_from_slides_and_is_tested(config, tmp_path, monkeypatch):
    # Laying the config out for the log takes longer than all the rest.
    monkeypatch.setattr(Config, "pretty_text", property(lambda self: "pass\n"))
    torch.manual_seed(0)
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.iter == 1  # two windows, one batch
    lines = [json.loads(line) for line in next((tmp_path / "work").rglob("scalars.json")).read_text().splitlines()]
    validated = next(line for line in lines if "ctc/AP50_CTC" in line)
    assert 0 <= validated["ctc/AP50_CTC"] <= 1  # defined: there is truth
    assert 0 <= validated["ctc/AP50_non-CTC"] <= 1
    assert len(list((tmp_path / "cache").iterdir())) == 2  # of train and val
    log = next((tmp_path / "work").rglob("*.log")).read_text()
    assert "1 fields of 1 groups in 2 windows; left out: none." in log
    assert "augmentation left out" in log
    meta = torch.load(tmp_path / "work" / "epoch_1.pth", weights_only=False)["meta"]["dataset_meta"]
    assert (meta["classes"], meta["target"], meta["um_per_px"]) == (("CTC", "non-CTC"), "CTC", 0.25)

    values = evaluate(config, tmp_path / "work" / "epoch_1.pth", tmp_path / "test", speed_images=1)
    assert "ctc/AP50_CTC" in values
    assert (tmp_path / "test" / "speed.json").is_file()
    found = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert found["classes"] == ["CTC", "non-CTC"]
