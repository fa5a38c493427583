"""Layers by name, and the features of cells: against forward passes made by hand."""

import random

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmdet.models import SSDVGG
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmpretrain.datasets import CustomDataset
from mmpretrain.models import ImageClassifier
from torch import nn

from ctc_mm.datasets.augment_to_n import AugmentToN
from ctc_mm.datasets.single_cell_dataset import SingleCellDataset
from ctc_mm.explain.features import (
    MOST_VALUES,
    Layer,
    default_layers,
    image_side,
    layer_aliases,
    pick_output,
    recorded_layers,
    resolve_layers,
    thumbnail,
    to_vectors,
)
from ctc_mm.explain.features_classifier import classifier_features
from ctc_mm.explain.features_table import finish_thumbnails, stratified_choice
from ctc_mm.formats.cell_set import CellRow, CellSetWriter
from ctc_mm.registry import TRANSFORMS

META_KEYS = ("img_path", "cell_id", "channel", "group", "source", "box_xyxy")
PACK = dict(type="mmpretrain.PackInputs", meta_keys=META_KEYS)
LOAD = dict(type="ctc_mm.LoadCellImage")


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """5 CTCs (bright) and 9 WBCs of 16 px, two patients."""
    folder = tmp_path_factory.mktemp("cells")
    generator = np.random.default_rng(0)
    with CellSetWriter(folder) as writer:
        for number in range(14):
            label = "CTC" if number < 5 else "WBC"
            image = generator.integers(*((150, 250) if label == "CTC" else (20, 90)), (16, 16), dtype=np.uint8)
            row = CellRow(
                cell_id=f"cell<{number}>", channel="brightfield", label=label, group=f"P{number % 2}", split="train",
                source=f"raw{number % 2}.tif", box_xyxy=(number, 2, number + 16, 18),
            )  # fmt: skip
            writer.add(row, image)
    return folder


def cell_set(folder, **options):
    return SingleCellDataset(data_root=str(folder), **{"pipeline": [LOAD, PACK], "test_mode": True, **options})


@pytest.fixture
def model():
    torch.manual_seed(0)
    classifier = ImageClassifier(
        backbone=dict(type="mmpretrain.ResNet", depth=18, stem_channels=4, base_channels=4, out_indices=(0, 1, 2, 3)),
        neck=dict(type="mmpretrain.GlobalAveragePooling"),
        head=dict(type="mmpretrain.LinearClsHead", num_classes=2, in_channels=32),
        data_preprocessor=dict(type="mmpretrain.ClsDataPreprocessor", mean=[100.0] * 3, std=[50.0] * 3),
    )
    for name, value in classifier.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return classifier.train()


# Names


def test_unknown_layer_lists_the_valid_ones(model):
    with pytest.raises(ValueError, match="the model has no layer 'convv5'") as caught:
        resolve_layers(model, ["input", "convv5"])
    message = str(caught.value)
    assert "Valid names: input, conv1 to conv17, last_conv, fc1 to fc1, last_fc, pre_logits; backbone, " in message
    assert "backbone.layer1" in message
    assert "data_preprocessor" not in message
    assert "Did you mean conv5" in message


@pytest.mark.parametrize("names", [[], ["input", "input"], "input"])
def test_layers_are_different_names(model, names):
    with pytest.raises(ValueError, match="must be different names of layers"):
        resolve_layers(model, names)


def test_names_lead_to_modules(model):
    layers = resolve_layers(model, ["input", "conv1", "last_conv", "pre_logits", "neck", "backbone[2]"])
    assert [layer.module for layer in layers] == [
        None, "backbone.conv1", "backbone.layer4.1.conv2", "head.fc", "neck", "backbone",
    ]  # fmt: skip
    assert layers[3].of_input
    assert layers[5].index == 2


@pytest.mark.usefixtures("mmpretrain_scope")
def test_convolutions_of_vgg_are_counted_in_order_with_their_activation():
    with torch.device("meta"):  # 138 million weights, of which none is looked at
        vgg = ImageClassifier(backbone=dict(type="mmpretrain.VGG", depth=16, num_classes=2))
        detector = SSDVGG(depth=16, out_feature_indices=(22, 34), ceil_mode=True)
    aliases = layer_aliases(vgg)
    modules = dict(vgg.named_modules())
    assert [name for name in aliases if name.startswith("conv")] == [f"conv{number}" for number in range(1, 14)]
    assert modules[aliases["conv5"].module].conv.out_channels == 256  # the first of the third stage
    assert aliases["last_fc"].module == aliases["fc3"].module == "backbone.classifier.6"
    assert default_layers(vgg, is_detector=False) == ("input", "conv5", "conv7", "last_fc")
    assert layer_aliases(detector)["conv1"].module == "features.1"  # the ReLU behind features.0


def test_layers_of_a_teacher_have_no_short_names():
    model = nn.Module()
    model.backbone, model.head, model.teacher = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), nn.Sequential(nn.Linear(4, 2))
    assert layer_aliases(model)["last_fc"].module == "head"
    assert resolve_layers(model, ["teacher.0"])[0].module == "teacher.0"


def test_default_layers_of_a_small_network():
    small = nn.Sequential(*[nn.Conv2d(3, 3, 3) for _ in range(3)], nn.Linear(3, 2))
    assert default_layers(small, is_detector=False) == ("input", "conv2", "conv3", "last_fc")
    assert default_layers(nn.Sequential(nn.Linear(3, 2)), is_detector=False) == ("input", "last_fc")


def test_outputs_are_counted():
    outputs = [torch.zeros(1), torch.ones(1)]
    assert pick_output(Layer("a", "a"), outputs, -1).item() == 1
    assert pick_output(Layer("a[0]", "a", index=0), outputs, -1).item() == 0
    with pytest.raises(ValueError, match="gives 2 outputs"):
        pick_output(Layer("a[2]", "a", index=2), outputs, -1)
    with pytest.raises(ValueError, match="gives no map or vector"):
        pick_output(Layer("a", "a"), [], -1)


# Vectors


def test_maps_become_vectors():
    maps = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4)
    assert torch.equal(to_vectors(maps, "mean"), maps.mean(dim=(2, 3)))
    assert torch.equal(to_vectors(maps, "flatten"), maps.flatten(1))
    tokens = maps.flatten(2).transpose(1, 2)
    torch.testing.assert_close(to_vectors(tokens, "mean"), maps.mean(dim=(2, 3)))
    assert torch.equal(to_vectors(maps[:, :, 0, 0], "flatten"), maps[:, :, 0, 0])
    with pytest.raises(ValueError, match=r"received \(2, 3, 4, 4, 1\)"):
        to_vectors(maps[..., None], "mean")


@pytest.mark.parametrize("shape", [(64, 224, 224), (512, 14, 9), (5000, 2, 2), (1, 300, 10)])
def test_flattened_maps_stay_small(shape):
    levels = torch.rand(2, shape[0])
    vectors = to_vectors(levels[..., None, None].expand(2, *shape), "flatten")
    assert vectors.shape[1] <= max(MOST_VALUES, shape[0])
    cells = vectors.shape[1] // shape[0]
    torch.testing.assert_close(vectors, levels.repeat_interleave(cells, dim=1), atol=1e-3, rtol=0)


def test_pixels_are_averaged_to_a_bounded_square():
    assert image_side(torch.zeros(3, 224, 224)) == 26
    assert image_side(torch.zeros(3, 16, 40)) == 16
    assert image_side(torch.zeros(3000, 5, 5)) == 1


def test_thumbnails_show_red_as_red():
    image = torch.zeros(3, 8, 8)
    image[0] = 200
    assert thumbnail(image, 4, is_bgr=False)[0, 0].tolist() == [200, 0, 0]
    assert thumbnail(image, 4, is_bgr=True)[0, 0].tolist() == [0, 0, 200]
    assert thumbnail(image[:1], 16, is_bgr=True)[3, 3].tolist() == [200, 200, 200]


def test_dark_thumbnails_are_brightened_together():
    pictures = np.zeros((2, 4, 4, 3), np.float32)
    pictures[0], pictures[1] = 10, 20
    assert finish_thumbnails(pictures)[:, 0, 0, 0].tolist() == [128, 255]
    assert finish_thumbnails(np.zeros((1, 4, 4, 3), np.float32)).max() == 0
    assert finish_thumbnails(np.empty((0, 1), np.float32)).shape == (0, 48, 48, 3)


# Samples


def test_choice_keeps_the_share_of_each_class_and_every_class():
    labels = np.repeat([0, 1, 2], [2, 97, 1])
    kept = stratified_choice(labels, 20, seed=0)
    assert np.bincount(labels[kept]).tolist() == [1, 18, 1]
    assert (np.diff(kept) > 0).all()
    assert np.array_equal(kept, stratified_choice(labels, 20, seed=0))
    assert not np.array_equal(kept, stratified_choice(labels, 20, seed=1))
    assert stratified_choice(labels, None, 0).tolist() == list(range(100))
    assert stratified_choice([], 5, 0).tolist() == []
    assert len(stratified_choice(labels, 99, 0)) == 99
    with pytest.raises(ValueError, match="at least 3, one for each class; received 2"):
        stratified_choice(labels, 2, 0)


# Cells


def by_hand(model, dataset):
    """Features of the whole set in one batch, from the parts of the model."""
    images = torch.stack([dataset[index]["inputs"].float() for index in range(len(dataset))])
    model.eval()
    with torch.no_grad():
        stages = model.backbone((images - 100) / 50)
        vectors = model.neck(stages)
        logits = model.head.fc(vectors[-1])
    return images, stages, vectors, logits


def test_features_are_those_of_a_forward_pass_by_hand(model, cells):
    dataset = cell_set(cells)
    names = ["input", "backbone[1]", "backbone.layer3", "neck", "pre_logits", "last_fc", "conv1"]
    table = classifier_features(model, dataset, names)
    images, stages, vectors, logits = by_hand(model, dataset)
    expected = {
        "input": images.flatten(1),
        "backbone[1]": stages[1].mean(dim=(2, 3)),
        "backbone.layer3": stages[2].mean(dim=(2, 3)),
        "neck": vectors[-1],
        "pre_logits": vectors[-1],
        "last_fc": logits,
        "conv1": model.backbone.conv1((images - 100) / 50).mean(dim=(2, 3)),
    }
    assert list(table.features) == names
    for name, values in expected.items():
        np.testing.assert_allclose(table.features[name], values.detach().numpy(), atol=1e-5, err_msg=name)
        assert table.features[name].dtype == np.float32
    flat = classifier_features(model, dataset, ["backbone[1]"], pooling="flatten")
    np.testing.assert_allclose(flat.features["backbone[1]"], stages[1].flatten(1).numpy(), atol=1e-5)
    scores = logits.softmax(1).numpy()
    np.testing.assert_allclose([point.score for point in table.points], scores[:, 0], atol=1e-5)
    assert [point.predicted for point in table.points] == [("CTC", "WBC")[one] for one in scores.argmax(1)]


def test_points_tell_where_cells_come_from(model, cells):
    dataset = cell_set(cells)
    table = classifier_features(model, dataset, ["input"])
    assert table.categories == ("CTC", "WBC")
    assert table.counts() == {"CTC": 5, "WBC": 9}
    for index, point in enumerate(table.points):
        info = dataset.get_data_info(index)
        assert (point.cell_id, point.group, point.channel) == (info["cell_id"], info["group"], "brightfield")
        assert (point.path, point.source, point.box_xyxy) == (info["img_path"], info["source"], info["box_xyxy"])
        assert point.misjudged == (point.predicted != info["label"])
        assert point.copy_index == 0
    assert table.thumbnails.shape == (14, 48, 48, 3)
    bright = table.thumbnails.reshape(14, -1).mean(axis=1)
    assert bright[table.labels == 0].min() > bright[table.labels == 1].max()


def test_frozen_threshold_decides_what_a_cell_is_called(model, cells):
    called = [
        {point.predicted for point in classifier_features(model, cell_set(cells), ["input"], score_thr=thr).points}
        for thr in (0.0, 1.1)
    ]
    assert called == [{"CTC"}, {"WBC"}]


def test_model_and_random_numbers_are_left_as_they_were(model, cells):
    model.backbone.layer1.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    classifier_features(model, cell_set(cells), ["conv5", "last_fc"])
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_hooks_go_when_the_model_fails(model):
    layers = resolve_layers(model, ["neck"])
    with pytest.raises(RuntimeError, match="stop"), recorded_layers(model, layers, torch.clone):
        raise RuntimeError("stop")
    assert not model.neck._forward_hooks


def test_what_is_kept_is_not_changed_by_a_later_module_in_place():
    chain = nn.Sequential(nn.Linear(2, 2), nn.Identity(), nn.ReLU(inplace=True))
    layer = resolve_layers(chain, ["1"])
    with recorded_layers(chain, layer, lambda maps: to_vectors(maps, "mean")) as record:
        chain(torch.randn(50, 2))
    assert record["1"][0].min() < 0


def test_fewer_samples_are_drawn_and_said(model, cells):
    table = classifier_features(model, cell_set(cells), ["input"], max_samples=6)
    assert table.counts() == {"CTC": 2, "WBC": 4}
    assert table.notes == ("6 of 14 samples drawn by chance, each class by its share (seed 0)",)
    whole = classifier_features(model, cell_set(cells), ["input"])
    places = [[point.cell_id for point in whole.points].index(point.cell_id) for point in table.points]
    np.testing.assert_array_equal(table.features["input"], whole.features["input"][places])


@TRANSFORMS.register_module()
class AddOneRandomLevel(BaseTransform):
    """Brighter by a random number of levels."""

    def transform(self, results):
        results["img"] = results["img"] + np.float32(np.random.randint(30, 60))  # noqa: NPY002  # as transforms do
        return results


def test_copies_are_told_from_originals_and_are_the_same_each_time(model, cells):
    augmented = AugmentToN(
        dataset=cell_set(cells, pipeline=[LOAD], test_mode=False),
        n=9,
        augment=[dict(type="ctc_mm.AddOneRandomLevel")],
        pipeline=[PACK],
    )
    table = classifier_features(model, augmented, ["input"])
    assert table.counts() == {"CTC": 9, "WBC": 9}
    assert table.is_copy.tolist() == [False] * 14 + [True] * 4
    places = [[one.cell_id for one in table.points].index(point.cell_id) for point in table.points[14:]]
    difference = table.features["input"][14:] - table.features["input"][places]
    assert (difference >= 30).all()
    again = classifier_features(model, augmented, ["input"])
    assert np.array_equal(again.features["input"], table.features["input"])


def test_repeated_images_are_copies_and_joined_sets_are_one(model, cells):
    repeated = classifier_features(model, RepeatDataset(cell_set(cells), 2), ["input"])
    assert [point.copy_index for point in repeated.points] == [0] * 14 + [1] * 14
    joined = classifier_features(model, ConcatDataset([cell_set(cells), cell_set(cells)]), ["input"])
    assert joined.is_copy.sum() == 14


def test_any_classification_set_will_do(model, cells):
    pipeline = [dict(type="mmpretrain.LoadImageFromFile"), dict(type="mmpretrain.PackInputs")]
    folders = CustomDataset(data_root=str(cells), data_prefix="train", pipeline=pipeline)
    table = classifier_features(model, folders, ["neck"])
    assert table.categories == ("CTC", "WBC")
    assert len(table) == 14
    assert table.points[0].cell_id == table.points[0].path
    assert table.points[0].group == ""


class TwoSizes(SingleCellDataset):
    """Images from the seventh on are twice as large."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        item["inputs"] = item["inputs"].repeat(1, 1 + (index > 5), 1 + (index > 5))
        return item


def test_images_of_several_sizes_are_pooled_or_refused(model, cells, monkeypatch):
    monkeypatch.setattr("ctc_mm.explain.features_classifier.BATCH_SIZE", 1)
    dataset = TwoSizes(data_root=str(cells), pipeline=[LOAD, PACK], test_mode=True)
    table = classifier_features(model, dataset, ["input", "conv1"])
    assert table.features["input"].shape == (14, 3 * 16 * 16)
    assert table.features["conv1"].shape == (14, 4)
    with pytest.raises(ValueError, match=r"'conv1' gives features of shape \(1, 1024\) .* \(1, 256\) was expected"):
        classifier_features(model, dataset, ["conv1"], pooling="flatten")
