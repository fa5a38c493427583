import mmdet.models  # noqa: F401  # registers ResNet and SSDVGG
import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmengine.registry import MODELS
from tiny_training import TinyBackbone, TinyModel, build_runner, pretrained, save_backbone

from ctc_mm.engine import pretrained as engine_pretrained
from ctc_mm.engine.pretrained import (
    find_pretrained,
    pretrained_parameter_names,
    require_pretrained_weights,
    train_from_scratch,
)
from ctc_mm.errors import CheckpointError
from ctc_mm.models.backbones import PretrainedVGG

KAIMING = {"type": "Kaiming", "layer": "Conv2d"}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({}, []),
        ({"backbone": {"type": "A", "init_cfg": None}, "neck": [{"init_cfg": KAIMING}]}, []),
        ({"backbone": {"init_cfg": pretrained("a")}}, [("model.backbone.init_cfg.checkpoint", PretrainedInit, "a")]),
        ({"init_cfg": [KAIMING, pretrained("a")]}, [("model.init_cfg.1.checkpoint", PretrainedInit, "a")]),
        (
            {"backbone": {"init_cfg": {"type": "ctc_mm.PretrainedVGG", "checkpoint": "b"}}},
            [("model.backbone.init_cfg.checkpoint", PretrainedVGG, "b")],
        ),
        (
            {"neck": [{"init_cfg": {"type": PretrainedInit, "checkpoint": "c"}}]},
            [("model.neck.0.init_cfg.checkpoint", PretrainedInit, "c")],
        ),
        (
            {"a": {"init_cfg": KAIMING | {"override": {"name": "x"} | pretrained("d")}}},
            [("model.a.init_cfg.override.checkpoint", PretrainedInit, "d")],
        ),
        (
            {"backbone": {"pretrained": "torchvision://x"}},
            [("model.backbone.pretrained", PretrainedInit, "torchvision://x")],
        ),
        ({"backbone": {"pretrained": True}}, []),
    ],
    ids=["empty", "random", "backbone", "list", "VGG", "class", "override", "deprecated", "timm's switch"],
)
def test_places_that_name_weights(model, expected):
    found = find_pretrained(model)
    assert [(entry.option, entry.initializer, entry.checkpoint) for entry in found] == expected


@pytest.mark.parametrize(
    "backbone",
    [{"init_cfg": pretrained("absent.pth")}, {"init_cfg": [KAIMING, pretrained("absent.pth")]}],
    ids=["one", "list"],
)
def test_the_option_in_the_message_cures(tmp_path, backbone):
    config = Config({"model": {"backbone": backbone}})
    with pytest.raises(CheckpointError, match="`absent.pth` cannot be used: absent.pth: no such file") as caught:
        require_pretrained_weights(config.model)
    assert "--from-scratch" in str(caught.value)
    option = str(caught.value).split("--cfg-options ")[1].split("=FILE")[0]
    path = save_backbone(tmp_path / "w.pth")
    config.merge_from_dict({option: path})
    assert require_pretrained_weights(config.model) == [path]


def test_nothing_to_find():
    assert require_pretrained_weights({"backbone": {"type": "A"}}) == []


def test_without_internet_the_message_names_the_weights(monkeypatch):
    def no_internet(url, *args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_internet)
    with pytest.raises(CheckpointError) as caught:
        require_pretrained_weights({"backbone": {"init_cfg": pretrained("torchvision://vgg16")}})
    for part in (
        "pretrained weights `torchvision://vgg16`",
        "https://download.pytorch.org/models/vgg16-397923af.pth: download failed: Name or service not known",
        "--cfg-options model.backbone.init_cfg.checkpoint=FILE",
        "tools/train.py CONFIG --from-scratch",
    ):
        assert part in str(caught.value)


def test_weights_that_do_not_fit_are_refused_before_anything_is_built(tmp_path):
    path = save_backbone(tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="no VGG found"):
        require_pretrained_weights({"init_cfg": {"type": "ctc_mm.PretrainedVGG", "checkpoint": path}})
    with pytest.raises(CheckpointError, match="no weight's name begins with the prefix 'backbone.'"):
        require_pretrained_weights({"init_cfg": pretrained(path) | {"prefix": "backbone."}})


def build_tiny(backbone_init=None, init_cfg=None):
    model = TinyModel({"type": "TinyBackbone", "init_cfg": backbone_init}, init_cfg=init_cfg)
    model.init_weights()
    return model


def every_name():
    return {f"backbone.{name}" for name, _ in TinyBackbone().named_parameters()}


def with_prefix(path, prefix):
    torch.save({"state_dict": {f"{prefix}{k}": v for k, v in torch.load(path).items()}}, path)
    return str(path)


def test_names_of_loaded_parameters(tmp_path):
    path = save_backbone(tmp_path / "w.pth")
    part = save_backbone(tmp_path / "part.pth", ["conv1", "norm"])
    assert pretrained_parameter_names(build_tiny()) == set()
    assert pretrained_parameter_names(build_tiny(KAIMING)) == set()
    assert pretrained_parameter_names(build_tiny(pretrained(path))) == every_name()
    assert pretrained_parameter_names(build_tiny([KAIMING, pretrained(part)])) == {
        "backbone.conv1.weight",
        "backbone.conv1.bias",
        "backbone.norm.weight",
        "backbone.norm.bias",
    }


@pytest.mark.parametrize("prefix", ["backbone.", "backbone"])
def test_names_loaded_by_a_prefix(tmp_path, prefix):
    path = with_prefix(save_backbone(tmp_path / "w.pth"), "backbone.")
    assert pretrained_parameter_names(build_tiny(pretrained(path) | {"prefix": prefix})) == every_name()
    assert pretrained_parameter_names(build_tiny(pretrained(path))) == set()


def test_names_loaded_by_the_whole_model_and_from_a_ddp_file(tmp_path):
    path = with_prefix(save_backbone(tmp_path / "w.pth"), "module.backbone.")
    assert pretrained_parameter_names(build_tiny(init_cfg=pretrained(path))) == every_name()


def test_a_model_that_was_not_initialised_has_none(tmp_path):
    path = save_backbone(tmp_path / "w.pth")
    model = TinyModel({"type": "TinyBackbone", "init_cfg": pretrained(path)})
    assert pretrained_parameter_names(model) == set()


def test_names_loaded_by_the_vgg_initialiser(tmp_path):
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"]).state_dict()
    torch.save({f"features.{name}": value for name, value in features.items()}, tmp_path / "vgg.pth")
    init_cfg = {"type": "ctc_mm.PretrainedVGG", "checkpoint": str(tmp_path / "vgg.pth")}
    model = MODELS.build({"type": "mmdet.SSDVGG", "depth": 16, "init_cfg": init_cfg})
    model.init_weights()
    loaded = pretrained_parameter_names(model)
    assert loaded == {f"features.{name}" for name in features}
    assert {name for name, _ in model.named_parameters()} - loaded == {
        f"features.{layer}.{kind}" for layer in (31, 33) for kind in ("weight", "bias")
    }


FREEZE = {"type": "ctc_mm.FreezeBackboneHook", "epochs": 50}
STOP = {"type": "ctc_mm.DelayedEarlyStoppingHook", "monitor": "ctc/mAP50", "begin_epoch": 50}


def test_from_scratch_leaves_a_config_without_weights_as_it_is():
    config = Config({"model": {"type": "TinyBackbone"}, "custom_hooks": [{"type": "EMAHook"}]})
    assert train_from_scratch(config).to_dict() == config.to_dict()


def test_from_scratch_takes_out_what_needs_pretrained_weights():
    resnet = {"type": "mmdet.ResNet", "depth": 18, "frozen_stages": 1, "init_cfg": pretrained("torchvision://resnet18")}
    config = Config(
        {
            "model": {"backbone": resnet, "neck": [{"type": "mmdet.SSDVGG", "init_cfg": [KAIMING, pretrained("a")]}]},
            "custom_hooks": [FREEZE, {"type": "EMAHook"}, STOP],
            "load_from": "detector.pth",
            "default_scope": "mmdet",
        }
    )
    before = config.to_dict()
    changed = train_from_scratch(config)
    assert find_pretrained(changed.model) == []
    # ResNet's own default keeps BatchNorm at statistics that a random network never gathered.
    assert changed.model.backbone == {"type": "mmdet.ResNet", "depth": 18, "frozen_stages": -1, "norm_eval": False}
    assert changed.model.neck[0].init_cfg == [KAIMING]
    assert changed.custom_hooks == [{"type": "EMAHook"}, STOP | {"begin_epoch": 0}]
    assert changed.load_from is None
    assert config.to_dict() == before


def test_from_scratch_keeps_the_file_to_resume():
    config = Config({"model": {"init_cfg": pretrained("a"), "type": "mmdet.ResNet"}, "load_from": "b", "resume": True})
    assert train_from_scratch(config).load_from == "b"


def test_from_scratch_says_what_it_changed(monkeypatch):
    said = []
    monkeypatch.setattr(engine_pretrained, "print_log", lambda text, logger: said.append(text))
    vgg = {"type": "mmdet.SSDVGG", "depth": 16, "init_cfg": pretrained("torchvision://vgg16")}
    train_from_scratch(Config({"model": {"backbone": vgg}, "custom_hooks": [FREEZE, STOP]}))
    assert said == [
        "from scratch: model.backbone.init_cfg (torchvision://vgg16) left out",
        "from scratch: FreezeBackboneHook left out: a random backbone must learn",
        "from scratch: DelayedEarlyStoppingHook.begin_epoch set from 50 to 0",
    ]


def test_from_scratch_trains(tmp_path):
    model = {"type": "TinyModel", "backbone": {"type": "TinyBackbone", "init_cfg": pretrained("absent")}}
    config = train_from_scratch(Config({"model": model, "custom_hooks": [FREEZE]}))
    runner = build_runner(tmp_path, 1, model=config.model, custom_hooks=config.custom_hooks)
    start = runner.model.backbone.conv1.weight.detach().clone()
    runner.train()
    assert not torch.equal(start, runner.model.backbone.conv1.weight)
