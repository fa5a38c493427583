"""Backbones of the compared detectors start from the files that their configs name."""

import copy

import pytest
import torch
import torchvision
from mmdet.registry import MODELS
from torch import nn

from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.errors import CheckpointError

register_all_modules()


def efficientnet(name="efficientnet_b0"):
    """torchvision's, its BatchNorm as after a training."""
    torch.manual_seed(0)
    network = getattr(torchvision.models, name)(weights=None)
    for norm in (part for part in network.modules() if isinstance(part, nn.BatchNorm2d)):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(tensor.shape) * 0.5 + 0.5)
    return network.eval()


def backbone(repo, path, **changes):
    cfg = copy.deepcopy(load_config(repo / "configs/compare/efficientdet_d0_ctc.py").model.backbone)
    cfg.init_cfg.checkpoint = str(path)
    cfg.update(changes)
    network = MODELS.build(cfg)
    network.init_weights()
    network.eval()
    return network


@pytest.mark.parametrize("wrapped", [False, True], ids=["torchvision", "under a prefix"])
def test_efficientdet_sees_what_torchvision_sees(repo, tmp_path, wrapped):
    theirs = efficientnet()
    weights = theirs.state_dict()
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in weights.items()}} if wrapped else weights, tmp_path / "w")
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = backbone(repo, tmp_path / "w")(image)
        expected = [theirs.features[:stages](image) for stages in (4, 6, 8)]
    assert [x.shape[1] for x in ours] == [40, 112, 320]
    for x, y in zip(ours, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_of_cells_serves_as_well(repo, tmp_path):
    """MMPretrain's EfficientNet, whose last convolution the detector is built without."""
    from mmpretrain.registry import MODELS as CLASSIFIERS

    cells = CLASSIFIERS.build(dict(type="EfficientNet", arch="b0", conv_cfg=None, norm_cfg=dict(type="BN")))
    torch.save(
        {"state_dict": {f"backbone.{name}": value for name, value in cells.state_dict().items()}}, tmp_path / "w"
    )
    weights = backbone(repo, tmp_path / "w").state_dict()
    for name, value in cells.state_dict().items():
        if not name.startswith("layers.6."):
            assert torch.equal(weights[name], value), name


def test_a_deeper_network_is_refused(repo, tmp_path):
    torch.save(efficientnet("efficientnet_b1").state_dict(), tmp_path / "w")
    with pytest.raises(CheckpointError, match="for EfficientNet"):
        backbone(repo, tmp_path / "w")


def test_a_file_without_the_last_stage_is_refused(repo, tmp_path):
    weights = {name: value for name, value in efficientnet().state_dict().items() if not name.startswith("features.7")}
    torch.save(weights, tmp_path / "w")
    with pytest.raises(CheckpointError, match="for EfficientNet"):
        backbone(repo, tmp_path / "w")
