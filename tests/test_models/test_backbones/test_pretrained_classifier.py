import copy

import mmpretrain.models  # noqa: F401  # registers the backbones
import pytest
import torch
import torchvision
from mmpretrain.registry import MODELS
from torch import nn

from ctc_mm.errors import CheckpointError
from ctc_mm.models.backbones import PretrainedClassifier
from ctc_mm.models.backbones.classifier_keys import backbone_weights

pytestmark = pytest.mark.usefixtures("mmpretrain_scope")

BACKBONES = {
    "alexnet": dict(type="ctc_mm.AlexNet"),
    "vgg16": dict(type="VGG", depth=16),
    "vgg16_bn": dict(type="VGG", depth=16, norm_cfg=dict(type="BN")),
    "vgg19": dict(type="VGG", depth=19),
    "vgg19_bn": dict(type="VGG", depth=19, norm_cfg=dict(type="BN")),
    "resnet18": dict(type="ResNet", depth=18),
    "resnet34": dict(type="ResNet", depth=34),
    "resnet50": dict(type="ResNet", depth=50),
    "densenet121": dict(type="DenseNet", arch="121"),
    "efficientnet_b4": dict(type="EfficientNet", arch="b4", conv_cfg=None, norm_cfg=dict(type="BN")),
}
VGG_LETTERS = {"vgg16": "D", "vgg19": "E"}


def images(side=64):
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))


def torchvision_network(name):
    """Randomly initialised, its BatchNorm as after a training; VGG without half a gigabyte of classifier."""
    torch.manual_seed(0)
    if name.startswith("vgg"):
        letter = VGG_LETTERS[name.removesuffix("_bn")]
        layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs[letter], name.endswith("_bn"))
        network = nn.ModuleDict({"features": layers})
        for conv in (one for one in layers if isinstance(one, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight)
    else:
        network = getattr(torchvision.models, name)(weights=None)
    for norm in (part for part in network.modules() if isinstance(part, nn.BatchNorm2d)):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(tensor.shape) * 0.5 + 0.5)
    return network.eval()


def torchvision_features(network, batch):
    """The last feature map."""
    if hasattr(network, "fc"):
        for name, part in network.named_children():
            if name == "avgpool":
                return batch
            batch = part(batch)
    features = (network["features"] if isinstance(network, nn.ModuleDict) else network.features)(batch)
    return features.relu() if isinstance(network, torchvision.models.DenseNet) else features


def build(name, **init):
    """A backbone as a config builds and initialises it."""
    network = MODELS.build(BACKBONES[name] | dict(init_cfg=dict(type="ctc_mm.PretrainedClassifier", **init)))
    network.init_weights()
    network.eval()  # returns nothing: MMPretrain's backbones override train()
    return network


@pytest.fixture
def saved(tmp_path):
    def save(state_dict, name="weights.pth"):
        torch.save(state_dict, tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_torchvision_weights_give_torchvision_features(name, saved):
    source = torchvision_network(name)
    with torch.no_grad():
        expected = torchvision_features(source, images())
        network = build(name, checkpoint=saved(source.state_dict()))
        (features,) = network(images())
    assert expected.abs().max() > 1e-3
    assert features.shape == expected.shape
    assert torch.allclose(features, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_checkpoint_of_cells_gives_its_own_features(saved):
    source = MODELS.build(
        dict(
            type="ImageClassifier",
            backbone=BACKBONES["resnet18"],
            neck=dict(type="GlobalAveragePooling"),
            head=dict(type="LinearClsHead", num_classes=3, in_channels=512),
        )
    ).eval()
    with torch.no_grad():
        (expected,) = source.extract_feat(images(), stage="backbone")
        weights = dict(state_dict=source.state_dict(), meta=dict(epoch=3))
        assert torch.equal(build("resnet18", checkpoint=saved(weights))(images())[0], expected)
        # A distiller's checkpoint holds the teacher beside the student, which is taken.
        weights = source.state_dict()
        weights |= {f"teacher.{name}": torch.zeros_like(value) for name, value in weights.items()}
        assert torch.equal(build("resnet18", checkpoint=saved(weights))(images())[0], expected)
        assert not torch.equal(
            build("resnet18", checkpoint=saved(weights), prefix="teacher.backbone.")(images())[0], expected
        )


def test_densenet_files_of_torchvision_bear_old_names(saved):
    source = torchvision_network("densenet121")
    old = {}
    for name, value in source.state_dict().items():
        for layer in ("norm1", "norm2", "conv1", "conv2"):
            name = name.replace(f".{layer}.", f".{layer[:-1]}.{layer[-1]}.") if "denselayer" in name else name
        if not name.endswith("num_batches_tracked"):
            old[name] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    with torch.no_grad():
        (features,) = build("densenet121", checkpoint=saved(old))(images())
        assert torch.allclose(features, torchvision_features(source, images()), atol=1e-4)


def test_every_weight_comes_from_the_file(saved):
    """MMEngine initialises children after their parent, and ResNet zeroes norms at the very end."""
    for name in ("resnet18", "efficientnet_b4"):
        source = torchvision_network(name).state_dict()
        ones = {key: torch.full_like(value, 2) for key, value in source.items()}
        network = build(name, checkpoint=saved(ones))
        assert {float(value.min()) for value in network.parameters()} == {2.0}


class TestMisfits:
    def test_a_smaller_network_is_refused_by_name(self, saved):
        file = saved(torchvision_network("resnet18").state_dict())
        with pytest.raises(CheckpointError, match=r"weights\.pth: for ResNet: .* missing, such as layer1\.2\.conv1"):
            build("resnet34", checkpoint=file)

    def test_a_larger_network_is_refused(self, saved):
        weights = torchvision_network("resnet34").state_dict()
        # As ResNet101 over ResNet50: all names and shapes are there, and more.
        with pytest.raises(CheckpointError, match="larger network than the config's: nothing takes layer1.2.conv1"):
            build("resnet18", checkpoint=saved(weights))

    def test_other_shapes_are_told(self, saved):
        weights = torchvision_network("alexnet").state_dict()
        weights["features.3.weight"] = torch.zeros(192, 64, 3, 3)
        with pytest.raises(
            CheckpointError, match=r"1 of 10 .* features.3.weight \(192, 64, 3, 3\) for \(192, 64, 5, 5\)"
        ):
            build("alexnet", checkpoint=saved(weights))

    def test_one_missing_weight_is_named(self, saved):
        weights = torchvision_network("vgg16").state_dict()
        del weights["features.28.bias"]
        with pytest.raises(CheckpointError, match="1 of 26 weights are missing, such as features.28.bias$"):
            build("vgg16", checkpoint=saved(weights))

    def test_vgg_of_another_depth(self, saved):
        file = saved(torchvision_network("vgg16").state_dict())
        with pytest.raises(CheckpointError, match="not the config's network"):
            build("vgg19", checkpoint=file)
        with pytest.raises(CheckpointError, match="not the config's network"):
            build("vgg16_bn", checkpoint=file)

    def test_a_file_of_something_else(self, saved):
        with pytest.raises(CheckpointError, match="holds no such network: no conv1.weight, but nothing"):
            build("resnet18", checkpoint=saved({}))
        with pytest.raises(CheckpointError, match="no features.0.conv.weight or features.0.weight, but encoder.weight"):
            build("vgg16", checkpoint=saved({"encoder.weight": torch.zeros(3)}))

    def test_two_networks_need_a_prefix(self, saved):
        weights = torchvision_network("resnet18").state_dict()
        twins = {f"{side}.{name}": value for side in ("left", "right") for name, value in weights.items()}
        with pytest.raises(CheckpointError, match=r"several such networks, at \['left.', 'right.'\]"):
            build("resnet18", checkpoint=saved(twins))
        network = build("resnet18", checkpoint=saved(twins), prefix="right.")
        assert torch.equal(network.conv1.weight, weights["conv1.weight"])
        with pytest.raises(CheckpointError, match=r"no middle\.conv1\.weight"):
            build("resnet18", checkpoint=saved(twins), prefix="middle.")

    def test_missing_file(self):
        with pytest.raises(FileNotFoundError, match="nowhere.pth"):
            build("resnet18", checkpoint="nowhere.pth")


def stacked_head(mid_channels=(6, 5), **init):
    head = MODELS.build(
        dict(
            type="StackedLinearClsHead",
            num_classes=2,
            in_channels=8,
            mid_channels=mid_channels,
            init_cfg=dict(type="ctc_mm.PretrainedClassifier", **init),
        )
    )
    last = head.fc.fc.weight.clone()
    head.init_weights()
    return head, last


@pytest.mark.parametrize(
    "names",
    [
        ("classifier.0", "classifier.3", "classifier.6"),  # torchvision's VGG
        ("classifier.1", "classifier.4", "classifier.6"),  # its AlexNet
        ("backbone.classifier.0", "backbone.classifier.3", "backbone.classifier.6"),  # MMPretrain's VGG
        ("head.layers.0.fc", "head.layers.1.fc", "head.layers.2.fc"),
    ],
)
def test_fully_connected_layers_but_the_last_are_filled(names, saved):
    sizes = (8, 6, 5, 1000)
    weights = {}
    for name, inputs, outputs in zip(names, sizes[:-1], sizes[1:], strict=True):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = torch.randn(outputs, inputs), torch.randn(outputs)
    weights["features.0.weight"] = torch.zeros(64, 3, 3, 3)
    head, last = stacked_head(checkpoint=saved(weights))
    for layer, name in enumerate(names[:2]):
        assert torch.equal(head.layers[layer].fc.weight, weights[f"{name}.weight"])
        assert torch.equal(head.layers[layer].fc.bias, weights[f"{name}.bias"])
    assert torch.equal(head.fc.fc.weight, last)


def test_heads_that_do_not_fit_are_refused(saved):
    weights = torchvision_network("resnet18").state_dict()
    with pytest.raises(CheckpointError, match="holds 0 fully connected layers .*; the config's head has 3"):
        stacked_head(checkpoint=saved(weights))
    weights = {f"classifier.{place}.weight": torch.zeros(3, 8) for place in (0, 3, 6)}
    weights |= {f"classifier.{place}.bias": torch.zeros(3) for place in (0, 3, 6)}
    with pytest.raises(CheckpointError, match=r"classifier.0.weight \(3, 8\) for \(6, 8\)"):
        stacked_head(checkpoint=saved(weights))


def test_a_whole_classifier_takes_its_last_layer_too(saved):
    cfg = dict(
        type="ImageClassifier",
        backbone=dict(type="ResNet", depth=18, stem_channels=8, base_channels=8),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=2, in_channels=64),
    )
    source = MODELS.build(copy.deepcopy(cfg))
    for value in source.parameters():
        nn.init.normal_(value)
    file = saved(dict(state_dict=source.state_dict()))
    cfg |= dict(init_cfg=dict(type="ctc_mm.PretrainedClassifier", checkpoint=file))
    network = MODELS.build(copy.deepcopy(cfg))
    network.init_weights()
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in source.state_dict().items())
    cfg["head"]["num_classes"] = 3
    with pytest.raises(CheckpointError, match=r"head.fc.weight \(2, 64\) for \(3, 64\)"):
        MODELS.build(cfg).init_weights()


def test_nothing_is_copied_before_all_is_checked(saved):
    network = MODELS.build(BACKBONES["resnet34"])
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(CheckpointError):
        PretrainedClassifier(saved(torchvision_network("resnet18").state_dict()))(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_key_maps_read_no_tensor():
    """So configs can be checked against torchvision's networks without their weights."""
    with torch.device("meta"):
        source = torchvision.models.resnet50(weights=None).state_dict()
    shapes = {name: tuple(value.shape) for name, value in MODELS.build(BACKBONES["resnet50"]).state_dict().items()}
    assert set(backbone_weights(source, shapes)) == set(shapes)
