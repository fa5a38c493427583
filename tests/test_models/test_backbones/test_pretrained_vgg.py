import mmdet.models  # noqa: F401  # registers SSDVGG
import mmpretrain.models  # noqa: F401  # registers VGG
import pytest
import torch
import torchvision
from mmdet.registry import MODELS
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import nn

from ctc_mm.errors import CheckpointError
from ctc_mm.models.backbones import vgg16_to_ssd_vgg

CONVS = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
CONV4_3_RELU, CONV5_3_RELU = 22, 29


def images():
    # 64 px halve evenly four times: SSDVGG's pools round up and the classifiers' down.
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def scramble_norms(network):
    """BatchNorm as after a training: none of its four tensors at its start."""
    generator = torch.Generator().manual_seed(2)
    for norm in (part for part in network.modules() if isinstance(part, nn.BatchNorm2d)):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network.eval()


def torchvision_features(letter, with_norm=False):
    """The convolutions of torchvision's VGG (D is VGG16), without half a gigabyte of classifier."""
    return torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs[letter], batch_norm=with_norm)


def torchvision_vgg(with_norm=False):
    features = torchvision_features("D", with_norm)
    return scramble_norms(nn.ModuleDict({"features": features})), features[: 43 if with_norm else 30]


def mmpretrain_vgg(with_norm=False):
    network = MMPRETRAIN_MODELS.build(
        {
            "type": "mmpretrain.VGG",
            "depth": 16,
            "norm_cfg": {"type": "BN"} if with_norm else None,
            "with_last_pool": False,
        }
    )
    return scramble_norms(nn.ModuleDict({"backbone": network})), network.features


def ssd_vgg(depth=16):
    return MODELS.build({"type": "mmdet.SSDVGG", "depth": depth})


@pytest.fixture(scope="module")
def plain_weights():
    """Weights of the 13 convolutions by torchvision's names."""
    torch.manual_seed(0)
    return torchvision_vgg()[0].state_dict()


def build_pretrained(path, **options):
    init_cfg = {"type": "ctc_mm.PretrainedVGG", "checkpoint": str(path)} | options
    backbone = MODELS.build({"type": "mmdet.SSDVGG", "depth": 16, "init_cfg": init_cfg})
    backbone.init_weights()
    backbone.eval()  # mmcv's VGG returns None from it
    return backbone


SOURCES = {
    "torchvision": (torchvision_vgg, False),
    "torchvision with BatchNorm": (torchvision_vgg, True),
    "MMPretrain": (mmpretrain_vgg, False),
    "MMPretrain with BatchNorm": (mmpretrain_vgg, True),
}


@pytest.mark.parametrize(("build", "with_norm"), SOURCES.values(), ids=SOURCES)
def test_features_equal_those_of_the_source(tmp_path, build, with_norm):
    torch.manual_seed(0)
    network, features = build(with_norm)
    torch.save({"state_dict": network.state_dict(), "meta": {}}, tmp_path / "vgg.pth")
    backbone = build_pretrained(tmp_path / "vgg.pth")
    with torch.no_grad():
        expected = features(images())
        actual = backbone.features[: CONV5_3_RELU + 1](images())
    assert expected.std() > 0
    assert torch.allclose(actual, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_conv4_3_is_the_first_output(tmp_path, plain_weights):
    torch.save(plain_weights, tmp_path / "vgg.pth")
    backbone = build_pretrained(tmp_path / "vgg.pth")
    features = torchvision_features("D")
    features.load_state_dict({name.removeprefix("features."): value for name, value in plain_weights.items()})
    with torch.no_grad():
        assert torch.equal(backbone(images())[0], features[: CONV4_3_RELU + 1](images()))


def test_all_13_convolutions_are_filled_with_equal_values(tmp_path, plain_weights):
    torch.save(plain_weights, tmp_path / "vgg.pth")
    filled = build_pretrained(tmp_path / "vgg.pth").state_dict()
    for index in CONVS:
        for kind in ("weight", "bias"):
            assert torch.equal(filled[f"features.{index}.{kind}"], plain_weights[f"features.{index}.{kind}"])
    assert len(filled) == 2 * (13 + 2)


def test_mmpretrain_keys_in_order(plain_weights):
    positions = [0, 1, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16]
    renamed = {
        f"backbone.features.{position}.conv.{kind}": plain_weights[f"features.{index}.{kind}"]
        for position, index in zip(positions, CONVS, strict=True)
        for kind in ("weight", "bias")
    }
    converted = vgg16_to_ssd_vgg(renamed | {"head.fc.weight": torch.zeros(2, 4)})
    assert list(converted) == list(plain_weights)
    assert all(converted[name] is plain_weights[name] for name in plain_weights)


def test_a_detectors_own_fc6_and_fc7_are_kept(tmp_path):
    torch.manual_seed(0)
    source = ssd_vgg()
    detector = {f"backbone.{name}": value for name, value in source.state_dict().items()}
    torch.save({"state_dict": detector | {"bbox_head.w": torch.zeros(1)}, "meta": {}}, tmp_path / "ssd.pth")
    filled = build_pretrained(tmp_path / "ssd.pth").state_dict()
    for name, value in source.state_dict().items():
        assert torch.equal(filled[name], value), name


def test_fc6_and_fc7_are_sampled_from_the_classifier(plain_weights):
    generator = torch.Generator().manual_seed(3)

    def numbers(*shape):
        return torch.randint(-128, 127, shape, dtype=torch.int8, generator=generator)

    first, second = numbers(4096, 512 * 7 * 7), numbers(4096, 4096)
    classifier = {
        "classifier.0.weight": first,
        "classifier.0.bias": numbers(4096),
        "classifier.3.weight": second,
        "classifier.3.bias": numbers(4096),
        "classifier.6.weight": numbers(2, 4096),
    }
    converted = vgg16_to_ssd_vgg(plain_weights | classifier)
    shapes = {name: tuple(value.shape) for name, value in ssd_vgg().state_dict().items()}
    assert {name: tuple(value.shape) for name, value in converted.items()} == shapes
    # Output channel 4 * 5, input channel 7, row 3 * 2, column 3 * 1 of the 7x7 kernel.
    assert converted["features.31.weight"][5, 7, 2, 1] == first[20, 7 * 49 + 6 * 7 + 3]
    assert converted["features.31.bias"][5] == classifier["classifier.0.bias"][20]
    assert converted["features.33.weight"][5, 6, 0, 0] == second[20, 24]


def test_without_a_classifier_fc6_keeps_its_random_start(tmp_path, plain_weights):
    torch.save(plain_weights, tmp_path / "vgg.pth")
    torch.manual_seed(5)
    expected = ssd_vgg().state_dict()["features.31.weight"]
    torch.manual_seed(5)
    assert torch.equal(build_pretrained(tmp_path / "vgg.pth").state_dict()["features.31.weight"], expected)


def without(name):
    return lambda weights: {key: value for key, value in weights.items() if key != name}


def with_shape(name, *shape):
    return lambda weights: weights | {name: torch.zeros(shape)}


def one_channel(weights):
    return with_shape("features.0.weight", 64, 1, 3, 3)(weights)


def twice(weights):
    return {f"{prefix}.{name}": value for prefix in ("student", "teacher") for name, value in weights.items()}


BAD_WEIGHTS = {
    "empty": (lambda weights: {"a": torch.zeros(1)}, "no VGG found"),
    "missing conv3_2": (without("features.12.weight"), r"1 of 13 .* conv3_2 \(features.12\): .* is missing"),
    "missing bias": (without("features.0.bias"), r"conv1_1 .*`features.0.bias` is missing"),
    "grey input": (one_channel, r"conv1_1 .* has shape \(64, 1, 3, 3\), expected \(64, 3, 3, 3\)"),
    "another width": (with_shape("features.28.weight", 256, 512, 3, 3), r"conv5_3 .*\(256, 512, 3, 3\)"),
    "two networks": (twice, r"several VGGs found, at \['student.', 'teacher.'\]"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_what_is_no_vgg16_is_refused(tmp_path, plain_weights, spoil, message):
    torch.save(spoil(plain_weights), tmp_path / "vgg.pth")
    with pytest.raises(CheckpointError, match=message) as caught:
        build_pretrained(tmp_path / "vgg.pth")
    assert str(tmp_path / "vgg.pth") in str(caught.value)


@pytest.mark.parametrize("letter", ["A", "B", "E"], ids=["VGG11", "VGG13", "VGG19"])
def test_other_depths_are_refused(letter):
    network = nn.ModuleDict({"features": torchvision_features(letter)})
    with pytest.raises(CheckpointError, match="of 13 convolutions do not fit"):
        vgg16_to_ssd_vgg(network.state_dict())


def test_a_whole_torchvision_vgg16_fills_the_whole_backbone(tmp_path):
    network = torchvision.models.vgg16(weights=None, init_weights=False)
    torch.save(network.state_dict(), tmp_path / "vgg.pth")
    backbone = build_pretrained(tmp_path / "vgg.pth")
    assert torch.equal(backbone.features[28].weight, network.features[28].weight)
    assert torch.equal(backbone.features[33].weight[..., 0, 0], network.classifier[3].weight[::4, ::4])


def test_a_prefix_chooses_among_several(plain_weights):
    converted = vgg16_to_ssd_vgg(twice(plain_weights), prefix="teacher.")
    assert converted["features.28.bias"] is plain_weights["features.28.bias"]


def test_a_module_that_is_no_ssd_vgg16_is_refused(tmp_path, plain_weights):
    torch.save(plain_weights, tmp_path / "vgg.pth")
    init_cfg = {"type": "ctc_mm.PretrainedVGG", "checkpoint": str(tmp_path / "vgg.pth")}
    with pytest.raises(CheckpointError, match="SSDVGG: PretrainedVGG fills `mmdet.SSDVGG` with depth=16"):
        MODELS.build({"type": "mmdet.SSDVGG", "depth": 11, "init_cfg": init_cfg}).init_weights()


@pytest.mark.parametrize("wrapper", ["", "module."])
def test_hidden_layers_in_the_head_become_fc6_and_fc7(plain_weights, wrapper):
    """Our cell classifier has its fully connected layers in MMPretrain's StackedLinearClsHead."""
    rows = torch.arange(4096.0)
    hidden = {
        "0.fc.weight": rows[:, None].expand(4096, 512 * 7 * 7),
        "0.fc.bias": rows,
        "1.fc.weight": (rows[:, None] + rows / 8192),
        "1.fc.bias": -rows,
    }
    weights = {f"{wrapper}backbone.{name}": value for name, value in plain_weights.items()}
    weights |= {f"{wrapper}head.layers.{name}": value for name, value in hidden.items()}
    converted = vgg16_to_ssd_vgg(weights)
    assert converted["features.31.weight"].shape == (1024, 512, 3, 3)
    assert torch.equal(converted["features.31.weight"][:, 5, 2, 1], rows[::4])
    assert torch.equal(converted["features.31.bias"], rows[::4])
    assert torch.equal(converted["features.33.weight"][:, :, 0, 0], rows[::4, None] + rows[::4] / 8192)
    assert torch.equal(converted["features.33.bias"], -rows[::4])
    without = {name: value for name, value in weights.items() if "head.layers.1" not in name}
    assert not any(name.startswith(("features.31", "features.33")) for name in vgg16_to_ssd_vgg(without))
