import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from tiny_fields import draw_fields, write_field_config

from ctc_mm.engine.compatibility import check_classes
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.engine.testing import evaluate
from ctc_mm.errors import CheckpointError

CONFIG = Config(dict(test_dataloader=dict(dataset=dict(metainfo=dict(classes=("CTC", "WBC"))))))


@pytest.mark.parametrize(
    "checkpoint",
    [{}, {"meta": None}, {"meta": {"dataset_meta": {"classes": ["CTC", "WBC"]}}}],
    ids=["nothing_known", "no_meta", "same"],
)
def test_same_or_unknown_classes_pass(checkpoint):
    check_classes(checkpoint, CONFIG, "w.pth")


def test_other_classes_are_refused():
    checkpoint = {"meta": {"dataset_meta": {"classes": ("Platelets", "RBC", "WBC")}}}
    with pytest.raises(
        CheckpointError, match=r"w\.pth: trained for the classes .*'RBC'.* test set has \['CTC', 'WBC'\]"
    ):
        check_classes(checkpoint, CONFIG, "w.pth")


@pytest.mark.parametrize("shown", ["visualizer = dict(type='DetLocalVisualizer', name='visualizer')\n", ""])
def test_each_test_of_a_process_logs_into_its_own_folder(tmp_path, shown):
    backends = "visualizer['vis_backends'] = [dict(type='LocalVisBackend')]\n" if shown else ""
    path = write_field_config(tmp_path / "tiny.py", draw_fields(tmp_path / "data"), shown + backends)
    config = load_config(path)
    register_all_modules(config.default_scope)
    meta = {"dataset_meta": {"classes": ("CTC", "WBC"), "image_wh": (96, 64)}}
    torch.save({"state_dict": MODELS.build(config.model).state_dict(), "meta": meta}, tmp_path / "a.pth")
    for name in ("first", "second"):
        evaluate(config, tmp_path / "a.pth", tmp_path / name, speed_images=0)
        logs = [one.read_text() for one in (tmp_path / name).glob("*/vis_data/*.json")]
        assert any("ctc/mAP50" in text for text in logs)
        shutil.rmtree(tmp_path / name)
