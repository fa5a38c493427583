"""Grad-CAM of classifiers: by hand, against the grad-cam library, and without a trace in the model."""

import numpy as np
import pytest
import torch
from grad_cam_library import correlation, library_map, random_image
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

import ctc_mm.models  # noqa: F401
from ctc_mm.errors import ConfigError
from ctc_mm.explain.activations import evaluation_mode, preprocess
from ctc_mm.explain.classifier_cam import explain_classification, predict_label
from ctc_mm.explain.classifier_maps import run_classifier

PREPROCESSOR = dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=False)
POOLED = dict(type="GlobalAveragePooling")


pytestmark = pytest.mark.usefixtures("mmpretrain_scope")


def linear_head(channels, **options):
    return dict(type="LinearClsHead", num_classes=2, in_channels=channels, **options)


NETWORKS = {
    "resnet18": dict(backbone=dict(type="ResNet", depth=18), neck=POOLED, head=linear_head(512)),
    "resnet50": dict(backbone=dict(type="ResNet", depth=50), neck=POOLED, head=linear_head(2048)),
    "vgg16": dict(backbone=dict(type="VGG", depth=16, num_classes=2), head=dict(type="ClsHead")),
    "vgg16_pooled": dict(
        backbone=dict(type="VGG", depth=16, norm_cfg=dict(type="BN")), neck=POOLED, head=linear_head(512)
    ),
    "alexnet": dict(backbone=dict(type="AlexNet", num_classes=2), head=dict(type="ClsHead")),
    "densenet": dict(backbone=dict(type="DenseNet", arch="121"), neck=POOLED, head=linear_head(1024)),
    "efficientnet": dict(backbone=dict(type="EfficientNet", arch="b0"), neck=POOLED, head=linear_head(1280)),
    "stacked": dict(
        backbone=dict(type="ResNet", depth=18, frozen_stages=4, norm_eval=True),
        neck=POOLED,
        head=dict(
            type="StackedLinearClsHead", num_classes=2, in_channels=512, mid_channels=[32], dropout_rate=0.6,
            act_cfg=dict(type="ReLU"),
        ),
    ),
}  # fmt: skip


def build_network(name, seed=0):
    """Random weights, whose scores differ from image to image."""
    torch.manual_seed(seed)
    model = MODELS.build(dict(type="ImageClassifier", data_preprocessor=PREPROCESSOR, **NETWORKS[name]))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Linear) and module.out_features == 2:
            nn.init.normal_(module.weight, std=0.05)
    return model.eval()


def item(image, **meta):
    return dict(inputs=image, data_samples=DataSample(metainfo=meta))


class Channels(nn.Module):
    """Features that are the image's channels, one place a pixel."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3).reshape(3, 3, 1, 1))

    def forward(self, inputs):
        return (self.conv(inputs),)


def linear_classifier(weights, **preprocessor):
    head = linear_head(3) | dict(num_classes=len(weights))
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3, to_rgb=False) | preprocessor,
            backbone=Channels(),
            neck=POOLED,
            head=head,
        )
    )
    with torch.no_grad():
        model.head.fc.weight.copy_(torch.tensor(weights))
        model.head.fc.bias.zero_()
    return model.eval()


WEIGHTS = np.array([[0.5, -0.2, 0.1], [0.1, 0.3, -0.4], [0.0, 0.2, 0.2]])


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize("against_others", [False, True])
def test_linear_classifier_equals_the_sum_by_hand(label, against_others):
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels = image.numpy().astype(np.float64)
    logits = WEIGHTS @ pixels.mean(axis=(1, 2))
    scores = np.exp(logits) / np.exp(logits).sum()
    result = explain_classification(
        linear_classifier(WEIGHTS.tolist()), item(image), label=label, against_others=against_others
    )
    np.testing.assert_allclose(result.logits, logits, rtol=1e-5)
    np.testing.assert_allclose(result.scores, scores, rtol=1e-5)
    assert result.predicted == scores.argmax()
    assert result.explained == label
    assert result.layer == "backbone.conv"
    # d log-odds / d logits: 1 for the class, minus the others' share of what is left for each of them.
    direction = np.eye(3)[label]
    if against_others:
        direction -= np.where(np.eye(3)[label] == 1, 0, scores / (1 - scores[label]))
    alpha = direction @ WEIGHTS / 64
    expected = np.maximum(np.einsum("k,khw->hw", alpha, pixels), 0)
    np.testing.assert_allclose(result.raw, expected, atol=1e-7)
    stretched = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(result.cam, stretched, atol=1e-5)


def test_two_classes_against_others_is_logit_minus_logit():
    model = linear_classifier(WEIGHTS[:2].tolist())
    image = random_image(9) / 255
    result = explain_classification(model, item(image), label=0, against_others=True)
    alpha = (WEIGHTS[0] - WEIGHTS[1]) / 81
    np.testing.assert_allclose(result.raw, np.maximum(np.einsum("k,khw->hw", alpha, image.numpy()), 0), atol=1e-6)


LIBRARY_CASES = [
    ("resnet18", 224, "backbone.layer4"),
    ("vgg16", 224, "backbone.features.16"),
    ("alexnet", 224, "backbone.features.11"),
    ("stacked", 224, "backbone.layer4"),
    ("vgg16_pooled", 64, "backbone.features.12"),
    ("resnet18", 64, "backbone.layer2"),
    ("resnet18", 32, "backbone.layer1"),
    ("resnet50", 64, "backbone.layer2"),
    ("densenet", 64, "backbone.transitions.1.conv"),
    ("efficientnet", 64, "backbone.layers.4.0.expand_conv"),
]


@pytest.mark.parametrize(("name", "side_px", "layer"), LIBRARY_CASES)
def test_default_layer_and_map_agree_with_the_library(name, side_px, layer):
    """The last maps before pooling (at 224 px those that the library's README names), and the library's own map."""
    model, image = build_network(name, seed=1), random_image(side_px)
    results = [explain_classification(model, item(image), label=label) for label in (0, 1)]
    assert {result.layer for result in results} == {layer}
    # Of random weights one class may have nothing that speaks for it anywhere.
    result = max(results, key=lambda result: result.raw.max())
    assert result.raw.max() > 0
    assert result.cam.shape == (side_px, side_px)
    assert correlation(result.cam, library_map(model, image, layer, result.explained)) > 0.99


@pytest.mark.parametrize(("name", "layer"), [("resnet18", "backbone.layer3"), ("alexnet", "backbone.features.7")])
def test_named_layers_agree_with_the_library(name, layer):
    model, image = build_network(name), random_image(224, seed=1)
    result = explain_classification(model, item(image), label=0, layer=layer)
    assert result.layer == layer
    assert result.raw.max() > 0
    assert correlation(result.cam, library_map(model, image, layer, 0)) > 0.99


def test_in_place_relu_leaves_the_named_convolution_as_it_was():
    model = build_network("alexnet")
    with evaluation_mode(model):
        inputs, sample = preprocess(model, item(random_image(224)))
        passed = run_classifier(model, inputs, sample, "backbone.features.10")
        plain = run_classifier(model, inputs, sample)
    assert passed.activation.min() < 0
    torch.testing.assert_close(passed.activation.relu(), plain.activation)
    torch.testing.assert_close(passed.scores, plain.scores)


def snapshot(model):
    values = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    needs = [parameter.requires_grad for parameter in model.parameters()]
    gradients = [parameter.grad for parameter in model.parameters()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    return values, modes, needs, gradients, hooks


@pytest.mark.parametrize("name", ["resnet18", "vgg16_pooled", "stacked"])
def test_the_model_and_the_item_are_left_as_they_were(name):
    model = build_network(name).train()
    model.backbone.eval()
    before, data = snapshot(model), item(random_image(64), img_path="x.png")
    with torch.no_grad():
        explain_classification(model, data, layer=None)
    values, *rest = snapshot(model)
    assert rest == list(before[1:])
    assert all(torch.equal(values[key], value) for key, value in before[0].items())
    assert "pred_score" not in data["data_samples"]
    with pytest.raises(ValueError, match="no module"):
        explain_classification(model, data, layer="nowhere")
    assert snapshot(model)[1:] == before[1:]


def test_frozen_models_have_the_same_map():
    model, image = build_network("resnet18"), random_image(64)
    free = explain_classification(model, item(image))
    model.requires_grad_(False)
    np.testing.assert_array_equal(explain_classification(model, item(image)).raw, free.raw)


def test_same_input_gives_the_same_bytes():
    first, second = (explain_classification(build_network("resnet18"), item(random_image(64))) for _ in range(2))
    for name in ("cam", "raw", "scores", "logits", "image"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_wrong_layers_are_named_with_those_that_would_do():
    model = build_network("resnet18")
    with pytest.raises(ValueError, match=r"no module 'layer4' gives .* maps; those that do: .*backbone\.layer4"):
        explain_classification(model, item(random_image(64)), layer="layer4")
    with pytest.raises(ValueError, match=r"no module 'head\.fc' gives"):
        explain_classification(model, item(random_image(64)), layer="head.fc")


@pytest.mark.parametrize("label", [2, -1])
def test_wrong_labels_are_named(label):
    with pytest.raises(ValueError, match=f"`label` must be from 0 to 1; received {label}"):
        explain_classification(build_network("resnet18"), item(random_image(64)), label=label)


def test_other_models_are_refused():
    with pytest.raises(ConfigError, match="received Linear"):
        explain_classification(nn.Linear(1, 1), item(random_image(8)))
    transformer = dict(
        type="VisionTransformer",
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
        img_size=32,
        patch_size=8,
    )
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            data_preprocessor=PREPROCESSOR,
            backbone=transformer,
            head=dict(type="VisionTransformerClsHead", num_classes=2, in_channels=16),
        )
    )
    with pytest.raises(ConfigError, match="no module gives convolutional maps"):
        explain_classification(model, item(random_image(32)))


def test_an_image_of_one_place_has_nothing_to_point_at():
    with pytest.raises(ConfigError, match="no module gives convolutional maps of more than one place"):
        explain_classification(linear_classifier(WEIGHTS.tolist()), item(torch.rand(3, 1, 1)))


def test_a_constant_image_has_an_empty_map():
    result = explain_classification(linear_classifier(WEIGHTS.tolist()), item(torch.full((3, 8, 8), 9.0)), label=0)
    assert not result.cam.any()
    assert result.raw == pytest.approx(np.full((8, 8), 9 * 0.4 / 64), rel=1e-5)


def test_padding_is_cut_off():
    model, image = linear_classifier(WEIGHTS.tolist(), pad_size_divisor=8), torch.zeros(3, 6, 7)
    image[0, 4, 5] = 10
    result = explain_classification(model, item(image), label=0)
    assert result.raw.shape == (8, 8)
    assert result.cam.shape == result.image.shape[:2] == (6, 7)
    assert np.unravel_index(result.cam.argmax(), result.cam.shape) == (4, 5)


@pytest.mark.parametrize(("to_rgb", "first"), [(False, 1.0), (True, 3.0)])
def test_the_image_is_shown_in_rgb(to_rgb, first):
    image = torch.stack([torch.full((8, 8), value) for value in (1.0, 2.0, 3.0)])
    result = explain_classification(linear_classifier(WEIGHTS.tolist(), to_rgb=to_rgb), item(image))
    assert result.image.shape == (8, 8, 3)
    assert result.image[0, 0].tolist() == [first, 2.0, 4.0 - first]


@pytest.mark.parametrize(
    ("scores", "threshold", "label"),
    [
        ([0.4, 0.6], None, 1),
        ([0.4, 0.6], 0.3, 0),
        ([0.4, 0.6], 0.4, 0),
        ([0.9, 0.1], 0.95, 1),
        ([0.5, 0.1, 0.4], 0.6, 2),
        ([1.0], 2.0, 0),
    ],
)
def test_the_target_is_called_from_the_threshold_on(scores, threshold, label):
    assert predict_label(np.array(scores), threshold) == label
    with pytest.raises(ValueError, match="`score_thr` must be a number"):
        predict_label(np.array([0.1, 0.9]), float("nan"))


@pytest.mark.parametrize("planes", [1, 2])
def test_the_student_of_a_distiller_is_explained(planes):
    torch.manual_seed(0)
    parts = {
        "backbone": dict(type="ResNet", depth=18, stem_channels=8, base_channels=8),
        "neck": POOLED,
        "head": linear_head(64),
    }
    preprocessor = dict(mean=[120.0] * 3, std=[60.0] * 3)
    distiller = MODELS.build(dict(type="ctc_mm.CrossModalDistiller", data_preprocessor=preprocessor, **parts)).eval()
    student = MODELS.build(dict(type="ImageClassifier", data_preprocessor=preprocessor, **parts)).eval()
    own = {key: value for key, value in distiller.state_dict().items() if not key.startswith("teacher.")}
    student.load_state_dict(own)
    grey = random_image(64, channels=1)
    stacked = torch.cat([grey, random_image(64, seed=5, channels=1)])[:planes]
    ours = explain_classification(distiller, item(stacked), label=0)
    alone = explain_classification(student, item(grey.repeat(3, 1, 1)), label=0)
    assert ours.layer == alone.layer == "backbone.layer2"
    np.testing.assert_allclose(ours.raw, alone.raw, rtol=1e-5)
    np.testing.assert_array_equal(ours.image, grey[0].numpy())
