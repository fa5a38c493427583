"""A network of three layers, its data and a real Runner: what the engine's tests train."""

import itertools

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

_run_number = itertools.count()


@MODELS.register_module(force=True)
class TinyBackbone(BaseModule):
    """Two convolutions with BatchNorm between; ``extra`` stands for what a file may leave out, like SSD's fc6."""

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.extra = nn.Conv2d(4, 4, 1)

    def forward(self, images):
        return self.extra(torch.relu(self.norm(self.conv1(images))))


@MODELS.register_module(force=True)
class TinyModel(BaseModel):
    def __init__(self, backbone, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(4, 1)

    def forward(self, inputs, targets, mode="tensor"):
        outputs = self.head(self.backbone(inputs).mean(dim=(2, 3)))[:, 0]
        return {"loss": ((outputs - targets) ** 2).mean()} if mode == "loss" else [outputs]


class TinyData(Dataset):
    """16 images that each rank sees another half of, so that gradients of the ranks differ."""

    def __init__(self, length=16):
        generator = torch.Generator().manual_seed(3)
        self.images = torch.randn(length, 3, 6, 6, generator=generator) * 2 + 1
        self.targets = self.images.mean(dim=(1, 2, 3)) * torch.linspace(-3, 3, length)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"inputs": self.images[index], "targets": self.targets[index]}


class ScriptedMetric(BaseMetric):
    """Gives out ``scores[epoch]`` for the validation after ``epoch`` epochs, the last one from there on."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores
        self.runner = None
        self.validated_epochs = []

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.validated_epochs.append(self.runner.epoch)
        return {"ctc/AP50_CTC": self.scores[min(self.runner.epoch, len(self.scores)) - 1]}


def build_runner(work_dir, max_epochs=2, backbone_init=None, hooks=(), scores=None, **options):
    """A Runner over TinyModel: Adam with weight decay, cosine schedule, a checkpoint every epoch, batches of 4."""
    loader = {
        "batch_size": 4,
        "num_workers": 0,
        "dataset": TinyData(),
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "collate_fn": {"type": "default_collate"},
    }
    config = {
        "model": {"type": "TinyModel", "backbone": {"type": "TinyBackbone", "init_cfg": backbone_init}},
        "work_dir": str(work_dir),
        "train_dataloader": loader,
        "train_cfg": {"by_epoch": True, "max_epochs": max_epochs, "val_interval": 1},
        "optim_wrapper": {"optimizer": {"type": "Adam", "lr": 0.01, "weight_decay": 0.1}},
        "param_scheduler": [{"type": "CosineAnnealingLR", "T_max": 10, "end": 10, "by_epoch": True}],
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        "custom_hooks": list(hooks),
        "randomness": {"seed": 0},
        "experiment_name": f"tiny_{next(_run_number)}",
        "default_scope": "mmengine",
    }
    if scores is not None:
        config |= {
            "val_dataloader": loader,
            "val_cfg": {},
            "val_evaluator": {"type": ScriptedMetric, "scores": scores},
        }
    runner = Runner(**config | options)
    if scores is not None:
        runner.val_loop.evaluator.metrics[0].runner = runner
    return runner


def save_backbone(path, names=None, seed=7):
    """Write weights of a TinyBackbone (all, or those whose name begins with one of ``names``) and return its path."""
    torch.manual_seed(seed)
    weights = TinyBackbone().state_dict()
    torch.save({k: v for k, v in weights.items() if names is None or k.startswith(tuple(names))}, path)
    return str(path)


def pretrained(path):
    return {"type": "Pretrained", "checkpoint": str(path)}
