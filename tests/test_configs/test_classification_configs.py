"""Every classification config is loaded, built through the registries, and trains one step on small cells."""

import copy
import gc
import inspect
import json
import warnings
from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, HOOKS, METRICS, MODELS, PARAM_SCHEDULERS, TRANSFORMS
from small_cell_sets import write_cells
from torch import nn
from torch.utils.data import DataLoader

from ctc_mm.datasets.cell_meta import CELL_META_KEYS
from ctc_mm.engine.setup import load_config, register_all_modules, set_data_root

REPO = Path(__file__).parents[2]
FOLDER = REPO / "configs" / "classification"
IDS = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.py"))
RUNNER_KEYS = set(inspect.signature(Runner.__init__).parameters) - {"self", "experiment_name", "cfg"}
# What the configs themselves define for their leaves, beside what Runner takes.
VARIABLES = {
    "data_root", "classes", "num_classes", "metainfo", "channels", "dataset", "workers", "load_cell", "augment_cell",
    "pack_cell", "resize_cell", "input_size", "train_pipeline", "test_pipeline", "max_epochs", "custom_imports",
    "vis_backends", "weights",
}  # fmt: skip
SPLITS = ("train", "val", "test")
PAPER_NETS = ("alexnet", "cnn", "resnet18", "resnet50", "vgg16", "vgg19")


@pytest.fixture(scope="module", autouse=True)
def _registered():
    register_all_modules("mmpretrain")
    yield
    init_default_scope("mmdet")  # what other tests expect


@pytest.fixture(scope="module")
def cell_sets(tmp_path_factory):
    """Folder of a small set by the classes it has."""
    root = tmp_path_factory.mktemp("cells")
    return {
        classes: write_cells(root / classes[1], classes, channels)
        for classes, channels in (
            (("CTC", "WBC"), ("brightfield", "dapi")),
            (("CTC", "non-CTC"), ("cep8",)),
        )
    }


def load(name):
    return load_config(FOLDER / f"{name}.py")


def without_weights(node):
    """A model config without its ``init_cfg``."""
    if isinstance(node, dict):
        return {key: without_weights(value) for key, value in node.items() if key != "init_cfg"}
    return [without_weights(value) for value in node] if isinstance(node, list | tuple) else node


def build_model(config):
    return MODELS.build(copy.deepcopy(without_weights(config.model)))


def test_there_are_configs():
    imfish = {f"imfish/{net}_scratch{size}" for net in PAPER_NETS for size in ("", "_64")}
    imfish |= {f"imfish/{net}_transfer{size}" for net in PAPER_NETS if net != "cnn" for size in ("", "_64")}
    deparray = {f"deparray/{net}_{way}" for net in ("resnet34", "resnet50", "densenet121", "efficientnet_b4", "light")
                for way in ("dapi", "brightfield")}  # fmt: skip
    assert len(imfish) == 22
    assert imfish | deparray | {
        "light_cells", "vgg16_cells", "vgg16_cells_64", "label_free/resnet50_frozen", "label_free/resnet50_finetuned",
        "deparray/light_distilled", "deparray/light_dapi_teacher", "deparray/resnet50_distilled",
    } == set(IDS)  # fmt: skip


@pytest.mark.parametrize("name", IDS)
def test_keys_are_known_and_parts_build(name):
    config = load(name)
    assert set(config) - RUNNER_KEYS - VARIABLES - {"default_scope", "work_dir"} == set()
    assert config.default_scope == "mmpretrain"
    for hook in [*config.default_hooks.values(), *config.custom_hooks]:
        HOOKS.build(copy.deepcopy(hook))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    for scheduler in copy.deepcopy(config.param_scheduler):
        if scheduler.pop("convert_to_iter_based", False):
            assert scheduler.by_epoch
        PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer))
    loader = set(inspect.signature(DataLoader.__init__).parameters) - {"self"}
    for split in SPLITS:
        assert set(config[f"{split}_dataloader"]) <= loader
        for step in pipeline_of(config, split):
            TRANSFORMS.build(copy.deepcopy(step))
    for split in ("val", "test"):
        METRICS.build(copy.deepcopy(config[f"{split}_evaluator"]))
        assert config[f"{split}_cfg"] == {}
    assert set(config.train_cfg) == {"by_epoch", "max_epochs", "val_interval"}
    assert set(config.optim_wrapper) == {"type", "optimizer"}
    assert set(config.env_cfg) <= {"cudnn_benchmark", "mp_cfg", "dist_cfg"}
    assert set(config.randomness) <= {"seed", "deterministic"}


def pipeline_of(config, split):
    dataset = config[f"{split}_dataloader"].dataset
    if dataset.type == "ctc_mm.AugmentToN":
        return [*dataset.dataset.pipeline, *dataset.augment, *dataset.pipeline]
    return dataset.pipeline


@pytest.mark.parametrize("name", IDS)
def test_what_is_written_once_agrees_everywhere(name):
    config = load(name)
    assert config.model.head.num_classes == len(config.classes)
    for split in SPLITS:
        dataset = config[f"{split}_dataloader"].dataset
        dataset = dataset.get("dataset", dataset)
        assert dataset.data_root == config.data_root
        assert tuple(dataset.metainfo.classes) == tuple(config.classes)
        assert dataset.split == split
        assert dataset.get("test_mode", False) == (split != "train")
        steps = {step.type: step for step in pipeline_of(config, split)}
        assert tuple(steps["Resize"].scale) == (config.input_size, config.input_size)
        assert set(CELL_META_KEYS) == set(steps["PackInputs"].meta_keys)
        if split != "train":
            assert set(steps) == {"ctc_mm.LoadCellImage", "Resize", "PackInputs"}
            assert dataset.channels == config.channels
    # The brightness of an image is treated alike in training and test.
    normalize = [pipeline_of(config, split)[0].get("normalize") for split in SPLITS]
    assert len(set(normalize)) == 1


def test_unknown_keys_fail():
    """Building refuses what no constructor knows."""
    config = load("light_cells")
    with pytest.raises(TypeError):
        MODELS.build(dict(without_weights(config.model), hed={}))
    with pytest.raises(TypeError):
        TRANSFORMS.build(dict(config.load_cell, normalise="background"))
    with pytest.raises(TypeError):
        DATASETS.build(dict(config.train_dataloader.dataset, chanels="dapi", lazy_init=True))


def signature(name):
    """What decides how a training step runs, beside the learning rate and the first weights."""
    config = load(name)
    model, data = without_weights(config.model.to_dict()), config.train_dataloader.to_dict()
    return json.dumps([model, data, config.optim_wrapper.optimizer.type], sort_keys=True, default=str)


# Of configs that differ in the first weights alone, such as _scratch and _transfer, one trains a step.
DISTINCT = sorted({signature(name): name for name in IDS}.values())


@pytest.mark.parametrize("name", DISTINCT)
def test_trains_a_step_and_predicts(name, cell_sets):
    config = load(name)
    set_data_root(config, str(cell_sets[tuple(config.classes)]))
    batch_size = 1 if config.input_size == 224 else 2
    for split in ("train", "val"):
        config[f"{split}_dataloader"].update(num_workers=0, persistent_workers=False, batch_size=batch_size)
    if name.startswith("label_free"):
        config.train_dataloader.dataset.n = 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = build_model(config)
        loader = Runner.build_dataloader(config.train_dataloader, seed=0)
        frozen = {one for one, value in model.named_parameters() if not value.requires_grad}
        before = {one: value.detach().double().sum() for one, value in model.state_dict().items() if "head" in one}
        optimizer = build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper))
        model.train()
        log = model.train_step(next(iter(loader)), optimizer)
        assert all(torch.isfinite(value).all() for value in log.values())
        after = {one: value.detach().double().sum() for one, value in model.state_dict().items() if "head" in one}
        assert any(after[one] != value for one, value in before.items())
        assert bool(frozen) == (name == "label_free/resnet50_frozen")
        model.eval()
        with torch.no_grad():
            batch = next(iter(Runner.build_dataloader(config.val_dataloader, seed=0)))
            samples = model.test_step(batch)
    assert len(samples) == batch_size
    for sample in samples:
        assert sample.pred_score.shape == (len(config.classes),)
        assert float(sample.pred_score.sum()) == pytest.approx(1, abs=1e-5)
        assert sample.channel == config.channels
        assert sample.cell_id.startswith("val_")
    del model, optimizer
    gc.collect()
