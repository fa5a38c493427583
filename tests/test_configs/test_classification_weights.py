"""First weights of the classification configs: whose they are, that they fit, and where they go next."""

import copy
from pathlib import Path

import pytest
import torch
import torchvision
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from small_cell_sets import write_cells
from torch import nn

from ctc_mm.engine.pretrained import find_pretrained, pretrained_parameter_names, train_from_scratch
from ctc_mm.engine.setup import load_config, register_all_modules, set_data_root
from ctc_mm.engine.weight_sources import weights_address
from ctc_mm.models.backbones.classifier_keys import backbone_weights, hidden_layer_weights

REPO = Path(__file__).parents[2]
FOLDER = REPO / "configs" / "classification"
IDS = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.py"))


@pytest.fixture(scope="module", autouse=True)
def _registered():
    register_all_modules("mmpretrain")
    yield
    init_default_scope("mmdet")  # what other tests expect


def load(name):
    return load_config(FOLDER / f"{name}.py")


def blank(cfg):
    """A model for its names and shapes; the large ones take no memory."""
    is_large = cfg.backbone.type in ("VGG", "ctc_mm.AlexNet")  # MMPretrain's others cannot be built so
    with torch.device("meta" if is_large else "cpu"):
        return MODELS.build(copy.deepcopy(cfg))


def size_of(network):
    return sum(value.numel() for value in network.parameters())


TRANSFER = [name for name in IDS if find_pretrained(load(name).model)]


def test_who_starts_from_imagenet():
    from_scratch = set(IDS) - set(TRANSFER)
    assert from_scratch == {name for name in IDS if "scratch" in name or "light" in name} | {"vgg16_cells_64"}
    assert not any("cnn" in name for name in TRANSFER)


@pytest.mark.parametrize("name", TRANSFER)
def test_torchvision_has_all_weights_of_the_config(name):
    config = load(name)
    for entry in find_pretrained(config.model):
        scheme, _, network = entry.checkpoint.partition("://")
        assert scheme == "torchvision"
        assert weights_address(entry.checkpoint).startswith("https://")
        with torch.device("meta"):
            source = getattr(torchvision.models, network)(weights=None).state_dict()
        part = entry.path.split(".")[1]
        module = getattr(blank(config.model), part)
        shapes = {one: tuple(value.shape) for one, value in module.state_dict().items()}
        if part == "backbone":
            assert set(backbone_weights(source, shapes)) == set(shapes)
        else:
            assert set(hidden_layer_weights(source, shapes)) == set(shapes) - {"layers.2.fc.weight", "layers.2.fc.bias"}
    wanted = {"model.backbone.init_cfg"}
    if config.input_size == 224 and config.model.backbone.type in ("VGG", "ctc_mm.AlexNet"):
        wanted.add("model.head.init_cfg")
    assert {entry.path for entry in find_pretrained(config.model)} == wanted


@pytest.mark.parametrize("network", ["alexnet", "resnet18", "resnet50", "vgg16", "vgg19"])
def test_papers_networks_have_the_parameters_of_torchvisions(network):
    with torch.device("meta"):
        reference = getattr(torchvision.models, network)(weights=None, num_classes=2)
    assert size_of(blank(load(f"imfish/{network}_scratch").model)) == size_of(reference)
    # The twin has the same convolutions.
    twin = blank(load(f"imfish/{network}_scratch_64").model)
    assert size_of(twin.backbone) == size_of(blank(load(f"imfish/{network}_scratch").model).backbone)
    assert size_of(twin.head) <= 2 * 2048 + 2


def test_the_papers_own_cnn():
    assert size_of(blank(load("imfish/cnn_scratch").model)) == 258624 + 2 * 128 + 2


def test_alexnet_transfer_scores_as_torchvision_does(tmp_path):
    """The whole way at 224 px: convolutions, pooling and hidden layers of the file; the last layer is ours."""
    torch.manual_seed(0)
    source = torchvision.models.alexnet(weights=None).eval()
    torch.save(source.state_dict(), tmp_path / "alexnet.pth")
    config = load("imfish/alexnet_transfer")
    for entry in find_pretrained(config.model):
        entry.owner[entry.key].checkpoint = str(tmp_path / "alexnet.pth")
    model = MODELS.build(config.model)
    model.init_weights()
    model.eval()
    source.classifier[6] = nn.Linear(4096, 2)
    source.classifier[6].load_state_dict(model.head.fc.fc.state_dict())
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(model(images), source(images), atol=1e-5)
    loaded = pretrained_parameter_names(model)
    assert {name for name, _ in model.named_parameters()} - loaded == {
        "head.layers.2.fc.weight",
        "head.layers.2.fc.bias",
    }


def test_frozen_network_learns_in_its_head_alone(tmp_path):
    config = load("label_free/resnet50_frozen")
    config.model.backbone.init_cfg = None
    set_data_root(config, str(write_cells(tmp_path, config.classes, ("brightfield",))))
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    config.train_dataloader.dataset.n = 8
    model = MODELS.build(config.model)
    model.train()
    assert config.train_dataloader.batch_size == 16
    assert (model.head.layers[0].fc.out_features, model.head.layers[0].dropout.p) == (256, 0.6)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    assert type(optimizer.optimizer) is torch.optim.Adam
    assert optimizer.optimizer.defaults["lr"] == 1e-4
    batch = next(iter(Runner.build_dataloader(config.train_dataloader, seed=0)))
    assert batch["inputs"][0].shape == (3, 34, 34)
    model.train_step(batch, optimizer)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("head.")}


def test_from_scratch_frees_what_was_frozen():
    model = train_from_scratch(load("label_free/resnet50_frozen")).model
    assert "init_cfg" not in model.backbone
    assert (model.backbone.frozen_stages, model.backbone.norm_eval) == (-1, False)
    for name in ("deparray/efficientnet_b4_dapi", "deparray/densenet121_dapi", "imfish/vgg16_transfer"):
        config = train_from_scratch(load(name))
        assert find_pretrained(config.model) == []
        network = blank(config.model)
        assert all(value.requires_grad for value in network.parameters())


def test_weights_of_other_cells_fill_the_frozen_network(tmp_path):
    config = load("label_free/resnet50_frozen")
    names = blank(load("deparray/resnet50_dapi").model).state_dict()
    cells = {name: torch.full(value.shape, 0.5).to(value.dtype) for name, value in names.items()}
    torch.save(dict(state_dict=cells), tmp_path / "cells.pth")
    config.model.backbone.init_cfg.checkpoint = str(tmp_path / "cells.pth")
    model = MODELS.build(config.model)
    model.init_weights()
    assert {float(value.min()) for value in model.backbone.parameters()} == {0.5}


def test_dapi_is_in_training_alone():
    for network in ("resnet50", "resnet34", "efficientnet_b4", "densenet121", "light"):
        with_dapi, without = load(f"deparray/{network}_dapi"), load(f"deparray/{network}_brightfield")
        assert tuple(with_dapi.train_dataloader.dataset.channels) == ("brightfield", "dapi")
        with_dapi.train_dataloader.dataset.channels = "brightfield"
        # Nothing else differs in the comparison.
        assert with_dapi.to_dict() | dict(work_dir="") == without.to_dict() | dict(work_dir="")
        assert without.test_dataloader.dataset.channels == without.val_dataloader.dataset.channels == "brightfield"


def test_the_ssd_starts_from_the_cell_classifier(tmp_path):
    config = load("vgg16_cells_64")
    set_data_root(config, str(write_cells(tmp_path / "cells", config.classes, ("brightfield",))))
    config.train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.train()
    batch = next(iter(Runner.build_dataloader(config.train_dataloader, seed=0)))
    model.train_step(batch, build_optim_wrapper(model, config.optim_wrapper))
    file = tmp_path / "best.pth"
    torch.save(dict(state_dict=model.state_dict(), meta={}), file)
    ssd = load_config(
        REPO / "configs" / "ssd_cbam_vgg16_own_cells_ctc.py", {"model.backbone.init_cfg.checkpoint": str(file)}
    ).model
    backbone = MMDET_MODELS.build(dict(ssd.backbone, _scope_="mmdet"))
    backbone.init_weights()
    ours = [part for part in model.backbone.modules() if isinstance(part, nn.Conv2d)]
    theirs = [part for part in backbone.features if isinstance(part, nn.Conv2d)][:13]
    assert len(ours) == len(theirs) == 13
    for own, other in zip(ours, theirs, strict=True):
        assert torch.equal(own.weight, other.weight)
        assert torch.equal(own.bias, other.bias)


def test_command_line_changes_the_classes_of_all_heads():
    names = "('CTC', 'WBC', 'rest')"
    config = load_config(FOLDER / "deparray" / "light_distilled.py", {"classes": ("CTC", "WBC", "rest")})
    assert config.model.head.num_classes == 3, names
    assert blank(config.model).teacher.head.num_classes == 3
