"""The point goes with the weights it was chosen for: a real Runner, whose model is good in some epochs only."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample
from torch import nn
from torch.utils.data import Dataset

from ctc_mm.evaluation.operating_point import frozen_operating_point

TRUTH = [[0, 0, 10, 10], [20, 0, 30, 10]]
ITERS_PER_EPOCH = 2


class Fields(Dataset):
    metainfo = {"classes": ("CTC",)}

    def __len__(self):
        return ITERS_PER_EPOCH

    def __getitem__(self, index):
        sample = DetDataSample(metainfo={"img_id": index, "ori_shape": (100, 100)})
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(TRUTH, dtype=torch.float32), labels=torch.zeros(2).long()
        )
        return {"inputs": torch.ones(1), "data_samples": sample}


class Planned(BaseModel):
    """After n training iterations it finds ``plan[n]`` of the two cells, at score 0.9 - n / 100."""

    def __init__(self, plan):
        super().__init__()
        self.plan = plan
        self.linear = nn.Linear(1, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if mode == "loss":
            self.seen += 1
            return {"loss": self.linear(torch.stack(inputs)).sum()}
        n = int(self.seen)
        for sample in data_samples:
            boxes = torch.tensor(TRUTH, dtype=torch.float32)[: self.plan[n]]
            sample.pred_instances = InstanceData(
                bboxes=boxes, scores=torch.full((len(boxes),), 0.9 - n / 100), labels=torch.zeros(len(boxes)).long()
            )
        return data_samples


class Cells(Dataset):
    metainfo = {"classes": ("CTC", "WBC")}

    def __len__(self):
        return ITERS_PER_EPOCH

    def __getitem__(self, index):
        sample = DataSample(metainfo={"img_path": f"{index}.png", "diameter_px": 20.0 - index}).set_gt_label(index % 2)
        return {"inputs": torch.ones(1), "data_samples": sample}


class PlannedClassifier(Planned):
    """After n training iterations the CTC scores ``plan[n]`` and the other cell 0.2."""

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if mode == "loss":
            return super().forward(inputs, data_samples, mode)
        for sample in data_samples:
            score = self.plan[int(self.seen)] if int(sample.gt_label) == 0 else 0.2
            sample.set_pred_score(torch.tensor([score, 1 - score]))
        return data_samples


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmengine"):
        yield


def loader(dataset):
    return {
        "batch_size": 1,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": dataset,
        "collate_fn": pseudo_collate,
    }


def train(tmp_path, plan, name, train_cfg, checkpoint, resume_from=None, task=None):
    model, dataset, metric, best = task or (Planned, Fields, "CTCDetMetric", {"save_best": "ctc/mAP50"})
    runner = Runner(
        model=model(plan),
        work_dir=str(tmp_path),
        train_dataloader=loader(dataset()),
        train_cfg=train_cfg,
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01}},
        val_dataloader=loader(dataset()),
        val_cfg={},
        val_evaluator={"type": f"ctc_mm.{metric}"},
        default_hooks={"checkpoint": {"type": "CheckpointHook", **best, **checkpoint}},
        custom_hooks=[{"type": "ctc_mm.OperatingPointHook"}],
        load_from=resume_from,
        resume=resume_from is not None,
        log_level="ERROR",
        experiment_name=f"{tmp_path.name}_{name}",
        default_scope="mmengine",
    )
    runner.train()
    return {path.name: stored(path) for path in sorted(tmp_path.glob("*.pth"))}


def stored(path):
    """(seen iterations of the weights, operating point) of a checkpoint this test wrote."""
    checkpoint = torch.load(path, weights_only=False)
    return int(checkpoint["state_dict"]["seen"]), frozen_operating_point(checkpoint)


def check_each_point_belongs_to_its_weights(checkpoints):
    for name, (seen, point) in checkpoints.items():
        if point is not None:
            assert point["iter"] == seen, name
            assert point["thresholds"]["CTC"] == pytest.approx(0.9 - seen / 100), name


def test_point_is_stored_with_the_validated_weights_only(tmp_path):
    # After epoch 1 one cell of two is found, after epoch 2 none, after epoch 3 both.
    found = train(tmp_path, {2: 1, 4: 0, 6: 2}, "epochs", {"by_epoch": True, "max_epochs": 3}, {"interval": 1})
    assert set(found) == {"epoch_1.pth", "epoch_2.pth", "epoch_3.pth", "best_ctc_mAP50_epoch_3.pth"}
    check_each_point_belongs_to_its_weights(found)
    seen, best = found["best_ctc_mAP50_epoch_3.pth"]
    assert seen == 6
    assert (best["epoch"], best["iter"], best["n_images"], best["f1"]) == (3, 6, 2, {"CTC": 1.0})
    # Saved again after its validation, since it was the best so far.
    assert found["epoch_1.pth"][1]["f1"]["CTC"] == pytest.approx(2 / 3)
    assert found["epoch_3.pth"][1] == best
    # Saved before its validation, while the point of epoch 1 was still known: stale, so none.
    assert found["epoch_2.pth"] == (4, None)


def test_point_of_the_iteration_before_is_stale(tmp_path):
    # MMEngine's `runner.iter` is the same at the validation after iteration 1 and at the saving after iteration 2.
    plan = {1: 2, 2: 1, 3: 1, 4: 1}
    found = train(
        tmp_path,
        plan,
        "iters",
        {"by_epoch": False, "max_iters": 4, "val_interval": 1},
        {"interval": 1, "by_epoch": False},
    )
    check_each_point_belongs_to_its_weights(found)
    assert found["best_ctc_mAP50_iter_1.pth"][1]["iter"] == 1
    assert [found[f"iter_{n}.pth"][1] is None for n in (1, 2, 3, 4)] == [False, True, True, True]


def test_resumed_run_does_not_inherit_the_point(tmp_path):
    epochs = {"by_epoch": True, "max_epochs": 1}
    first = train(tmp_path, {2: 2}, "first", epochs, {"interval": 1})
    assert first["epoch_1.pth"][1] is not None
    resumed = train(
        tmp_path, {4: 1}, "second", {"by_epoch": True, "max_epochs": 2}, {"interval": 1}, str(tmp_path / "epoch_1.pth")
    )
    assert resumed["epoch_2.pth"] == (4, None)
    check_each_point_belongs_to_its_weights(resumed)


def test_validation_that_finds_nothing_stores_nothing(tmp_path):
    found = train(tmp_path, {2: 0}, "nothing", {"by_epoch": True, "max_epochs": 1}, {"interval": 1})
    assert found["best_ctc_mAP50_epoch_1.pth"] == (2, None)


def test_a_classifiers_point_goes_with_its_weights_too(tmp_path):
    best = {"save_best": "ctc/balanced_log_loss", "rule": "less"}
    task = (PlannedClassifier, Cells, "CTCBinaryMetric", best)
    plan = {2: 0.6, 4: 0.9, 6: 0.1}
    found = train(tmp_path, plan, "cells", {"by_epoch": True, "max_epochs": 3}, {"interval": 1}, task=task)
    seen, point = found["best_ctc_balanced_log_loss_epoch_2.pth"]
    assert (seen, point["iter"], point["epoch"], point["kind"]) == (4, 4, 2, "classification")
    assert point["thresholds"]["youden"] == pytest.approx((0.9 + 0.2) / 2)
    assert (point["n_target"], point["n_rest"]) == (1, 1)
    assert (point["size_thr"], point["size_unit"]) == (19.5, "px")
    assert found["epoch_2.pth"][1] == point
    assert found["epoch_1.pth"][1]["thresholds"]["youden"] == pytest.approx(0.4)
    assert found["epoch_3.pth"] == (6, None)  # saved before its validation


def test_weights_that_were_never_validated_have_no_point(tmp_path):
    task = (PlannedClassifier, Cells, "CTCBinaryMetric", {})
    epochs = {"by_epoch": True, "max_epochs": 1, "val_begin": 9}
    assert train(tmp_path, {2: 0.6}, "none", epochs, {"interval": 1}, task=task) == {"epoch_1.pth": (2, None)}
