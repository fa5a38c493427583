import copy
import math

import mmpretrain.models  # noqa: F401
import pytest
import torch
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ctc_mm.errors import CheckpointError, ConfigError
from ctc_mm.models.classifiers.cross_modal_distiller import soft_label_loss

pytestmark = pytest.mark.usefixtures("mmpretrain_scope")

STUDENT = dict(
    backbone=dict(type="ResNet", depth=18, stem_channels=8, base_channels=8),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=2, in_channels=64),
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)


def build(**options):
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(dict(STUDENT, type="ctc_mm.CrossModalDistiller", **options)))


def cells(planes=2, channel="brightfield+dapi", count=4):
    generator = torch.Generator().manual_seed(1)
    samples = []
    for index in range(count):
        sample = DataSample().set_gt_label(index % 2)
        if channel:
            sample.set_field(channel, "channel", field_type="metainfo")
        samples.append(sample)
    return dict(inputs=[torch.rand(planes, 32, 32, generator=generator) * 255 for _ in samples], data_samples=samples)


def losses(model, data=None):
    return model(**model.data_preprocessor(data or cells(), True), mode="loss")


def gradient_of(part):
    return [0.0 if one.grad is None else float(one.grad.abs().sum()) for one in part.parameters()]


def teacher_file(tmp_path):
    torch.manual_seed(5)
    source = MODELS.build(copy.deepcopy(dict(STUDENT, type="ImageClassifier")))
    for value in source.parameters():
        torch.nn.init.normal_(value, std=0.1)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / "dapi.pth")
    return source, dict(
        teacher=dict(init_cfg=dict(type="ctc_mm.PretrainedClassifier", checkpoint=str(tmp_path / "dapi.pth"))),
        freeze_teacher=True,
    )


def test_soft_labels_by_hand():
    scores, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    # Softened by 2: p = 1 / (1 + e), q = e / (1 + e), so KL = (q - p) * ln(q / p) = q - p.
    p = 1 / (1 + math.e)
    assert float(soft_label_loss(scores, teacher, 2.0)) == pytest.approx(4 * (1 - 2 * p), rel=1e-6)
    assert float(soft_label_loss(teacher, teacher, 2.0)) == pytest.approx(0, abs=1e-7)
    assert float(soft_label_loss(scores.repeat(3, 1), teacher.repeat(3, 1), 2.0)) == pytest.approx(
        4 * (1 - 2 * p), rel=1e-6
    )


def test_loss_is_weighted_as_said():
    model = build(soft_weight=0.25, temperature=3.0)
    model.eval()  # BatchNorm as in the reference below
    data = model.data_preprocessor(cells(), True)
    got = model(**data, mode="loss")
    target = torch.tensor([0, 1, 0, 1])
    scores = model.head(model.extract_feat(data["inputs"][:, 0]))
    teacher_scores = model.teacher.head(model.teacher.extract_feat(data["inputs"][:, 1]))
    hard = torch.nn.functional.cross_entropy
    assert set(got) == {"loss_cls", "loss_soft", "loss_teacher"}
    assert torch.allclose(got["loss_cls"], 0.75 * hard(scores, target))
    assert torch.allclose(got["loss_soft"], 0.25 * soft_label_loss(scores, teacher_scores, 3.0))
    assert torch.allclose(got["loss_teacher"], hard(teacher_scores, target))


def test_gradients_of_the_soft_labels_reach_the_student_alone():
    model = build().train()
    losses(model)["loss_soft"].backward()
    assert min(gradient_of(model.head)) > 0
    assert sum(gradient_of(model.backbone)) > 0
    assert sum(gradient_of(model.teacher)) == 0


def test_a_joint_teacher_learns_from_the_labels():
    model = build().train()
    losses(model)["loss_teacher"].backward()
    assert min(gradient_of(model.teacher.head)) > 0
    assert sum(gradient_of(model.backbone)) + sum(gradient_of(model.head)) == 0


def test_features_are_compared_by_direction():
    model = build(feature_weight=2.0).eval()
    with torch.no_grad():
        for own, other in zip(model.backbone.parameters(), model.teacher.backbone.parameters(), strict=True):
            other.copy_(own)
    data = model.data_preprocessor(cells(), True)
    data["inputs"] = torch.stack([data["inputs"][:, 0]] * 2, dim=1)
    assert float(model(**data, mode="loss")["loss_feature"]) == pytest.approx(0, abs=1e-6)
    value = losses(model)["loss_feature"]
    assert 0 < float(value) <= 8
    value.backward()
    assert sum(gradient_of(model.backbone)) > 0
    assert sum(gradient_of(model.teacher)) == 0


def test_a_frozen_teacher_stays_as_it_is(tmp_path):
    source, options = teacher_file(tmp_path)
    model = build(**options)
    model.init_weights()
    model.train()
    assert model.training
    assert not any(part.training for part in model.teacher.modules())
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    log = model.train_step(cells(), optimizer)
    assert set(log) == {"loss", "loss_cls", "loss_soft"}
    after = model.state_dict()
    for name, value in source.state_dict().items():
        assert torch.equal(after[f"teacher.{name}"], value), name
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert {"head.fc.weight", "backbone.conv1.weight", "backbone.bn1.running_mean"} <= changed


def test_only_the_student_is_asked(tmp_path):
    model = build().eval()
    alone = MODELS.build(copy.deepcopy(dict(STUDENT, type="ImageClassifier")))
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("teacher.")}
    alone.load_state_dict(weights)
    alone.eval()
    model.teacher.forward = None  # would fail if it were called
    model.teacher.extract_feat = None
    grey = cells(planes=1, channel="brightfield")
    rgb = dict(grey, inputs=[image.expand(3, -1, -1) for image in grey["inputs"]])
    with torch.no_grad():
        expected = torch.stack([sample.pred_score for sample in alone.test_step(copy.deepcopy(rgb))])
        for data in (grey, rgb):
            got = torch.stack([sample.pred_score for sample in model.test_step(copy.deepcopy(data))])
            assert torch.equal(got, expected)
        # Of a stack the first channel counts.
        stack = dict(cells(), inputs=[torch.cat([image, image.flip(1)]) for image in grey["inputs"]])
        assert torch.equal(torch.stack([one.pred_score for one in model.test_step(stack)]), expected)


def test_features_are_the_students():
    model = build().eval()
    inputs = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        (features,) = model.extract_feat(inputs)
        assert features.shape == (2, 64)
        assert torch.equal(model.extract_feat(inputs, stage="backbone")[0].mean((2, 3)), features)
        assert torch.equal(model.extract_feat(torch.stack([inputs, -inputs], dim=1))[0], features)
        assert torch.equal(model(inputs, mode="tensor"), model.head((features,)))


def test_parts_of_the_teacher_may_differ():
    deeper = dict(type="ResNet", depth=34, stem_channels=8, base_channels=8)
    model = build(teacher=dict(backbone=deeper))
    assert (model.backbone.depth, model.teacher.backbone.depth) == (18, 34)
    assert model.teacher.head.num_classes == 2
    assert losses(model)["loss_soft"].ndim == 0


class TestErrors:
    def test_training_without_dapi(self):
        model = build()
        with pytest.raises(ConfigError, match=r"needs brightfield and dapi .* Received: brightfield in batches"):
            losses(model, cells(planes=1, channel="brightfield"))
        with pytest.raises(ConfigError, match=r"combine='stack'"):
            losses(model, cells(planes=3, channel=None))

    def test_channels_in_the_wrong_order(self):
        with pytest.raises(ConfigError, match=r"in this order.*Received: dapi\+brightfield"):
            losses(build(), cells(channel="dapi+brightfield"))
        model = build(channels=("dapi", "brightfield"))
        assert "loss_soft" in losses(model, cells(channel="dapi+brightfield"))

    def test_test_images_of_another_channel(self):
        with pytest.raises(ConfigError, match="the student looks at brightfield. Received: images of dapi"):
            build().eval().test_step(cells(planes=1, channel="dapi"))

    def test_a_frozen_teacher_needs_weights(self):
        model = build(freeze_teacher=True)  # without weights a checkpoint may still be loaded, for testing
        with pytest.raises(ConfigError, match="frozen teacher without weights would teach noise"):
            model.init_weights()

    def test_weights_of_another_teacher(self, tmp_path):
        _, options = teacher_file(tmp_path)
        options["teacher"]["backbone"] = dict(type="ResNet", depth=34, stem_channels=8, base_channels=8)
        with pytest.raises(CheckpointError, match="dapi.pth: for ImageClassifier: not the config's network"):
            build(**options).init_weights()

    def test_other_classes(self):
        head = dict(type="LinearClsHead", num_classes=3, in_channels=64)
        with pytest.raises(ConfigError, match="teacher.head.num_classes=3, head.num_classes=2"):
            build(teacher=dict(head=head))

    def test_features_of_other_length(self):
        wider = dict(
            backbone=dict(type="ResNet", depth=18, stem_channels=8, base_channels=16),
            head=dict(type="LinearClsHead", num_classes=2, in_channels=128),
        )
        model = build(teacher=wider, feature_weight=1.0)
        with pytest.raises(ConfigError, match=r"Received: \(64,\) of the student, \(128,\) of the teacher"):
            losses(model)

    @pytest.mark.parametrize(
        ("options", "rule"),
        [
            (dict(temperature=0), "temperature must be above 0"),
            (dict(temperature=float("nan")), "temperature must be above 0"),
            (dict(soft_weight=1.5), "soft_weight must be from 0 to 1"),
            (dict(feature_weight=-1), "feature_weight must be at least 0"),
            (dict(channels="brightfield"), "channels must be two names"),
        ],
    )
    def test_parameters_out_of_range(self, options, rule):
        with pytest.raises(ConfigError, match=rule):
            build(**options)
