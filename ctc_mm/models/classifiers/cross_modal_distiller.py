"""A student that sees bright field alone, taught by a teacher that sees DAPI."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional

from ctc_mm.errors import ConfigError
from ctc_mm.registry import MODELS


@MODELS.register_module()
class CrossModalDistiller(ImageClassifier):
    """An image classifier whose training is helped by a second channel of each cell that is missing later.

    deparray-augmentation-2025 trains with DAPI and tests on bright field alone; reading 20. The soft labels are those
    of Hinton et al. 2015 (arXiv 1503.02531): the loss is ``(1 - soft_weight)`` times the cross-entropy plus
    ``soft_weight`` times ``temperature**2`` times the KL divergence of the student's softened scores from the
    teacher's. ``backbone``, ``neck`` and ``head`` are the student; features, scores and explanations are its alone::

        model=dict(type='ctc_mm.CrossModalDistiller', backbone=..., neck=..., head=..., data_preprocessor=...,
                   teacher=dict(init_cfg=dict(type='ctc_mm.PretrainedClassifier', checkpoint='dapi.pth')),
                   freeze_teacher=True)
        # training set: channels=('brightfield', 'dapi'), combine='stack', and LoadCellImage(to_channels=None);
        # validation and test set: channels='brightfield'

    Args:
        backbone: the student's; ``neck`` and ``head`` too.
        neck: as in ``ImageClassifier``.
        head: as in ``ImageClassifier``.
        teacher: config of an ``ImageClassifier``; parts that it does not name are like the student's.
        freeze_teacher: the teacher keeps the weights that its ``init_cfg`` names; otherwise it learns beside the
            student, from the labels.
        temperature: softens the scores of both.
        soft_weight: share of the soft labels in the loss, 0 to 1.
        feature_weight: weight of the distance between the features of both, taken behind the neck and brought to unit
            length; 0: scores only.
        channels: the student's channel and the teacher's; samples that say otherwise are refused.
        train_cfg: as in ``ImageClassifier``.
        data_preprocessor: a ``ctc_mm.TwinDataPreprocessor`` unless it names another type.
        init_cfg: as in ``ImageClassifier``.

    Raises:
        ConfigError: a parameter out of range, a teacher of other classes, a frozen teacher without weights (before
            training); images that lack a channel, or show another one (on use).
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        neck: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        teacher: Mapping[str, Any] | None = None,
        freeze_teacher: bool = False,
        temperature: float = 4.0,
        soft_weight: float = 0.5,
        feature_weight: float = 0.0,
        channels: Sequence[str] = ("brightfield", "dapi"),
        train_cfg: Mapping[str, Any] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        _check_parameters(temperature, soft_weight, feature_weight, channels)
        like_student = dict(type="ImageClassifier", backbone=backbone, neck=neck, head=head)
        teacher_cfg = copy.deepcopy({**like_student, **(teacher or {})})
        super().__init__(
            backbone,
            neck,
            head,
            train_cfg=train_cfg,
            data_preprocessor={"type": "ctc_mm.TwinDataPreprocessor", **(data_preprocessor or {})},
            init_cfg=init_cfg,
        )
        self.temperature, self.soft_weight, self.feature_weight = temperature, soft_weight, feature_weight
        self.channels = tuple(channels)
        self.freeze_teacher = freeze_teacher
        self.teacher = MMPRETRAIN_MODELS.build(teacher_cfg)
        self.teacher.requires_grad_(not freeze_teacher)
        if self.teacher.head.num_classes != self.head.num_classes:
            raise ConfigError(
                "CrossModalDistiller: teacher and student must tell the same classes apart. Received: "
                f"teacher.head.num_classes={self.teacher.head.num_classes}, head.num_classes={self.head.num_classes}"
            )

    @property
    def input_channel(self) -> str:
        """The channel that the model looks at when it is used."""
        return self.channels[0]

    def init_weights(self) -> None:
        """Initialise student and teacher."""
        if self.freeze_teacher and not self.teacher.init_cfg:
            raise ConfigError(
                "CrossModalDistiller: a frozen teacher without weights would teach noise. Give "
                "teacher=dict(init_cfg=dict(type='ctc_mm.PretrainedClassifier', checkpoint=FILE)), trained on "
                f"{self.channels[1]}, or set freeze_teacher=False"
            )
        super().init_weights()

    def train(self, mode: bool = True) -> CrossModalDistiller:
        """Switch to training; a frozen teacher stays in evaluation, its BatchNorm statistics with it."""
        super().train(mode)
        if self.freeze_teacher:
            self.teacher.eval()
        return self

    def extract_feat(self, inputs: Tensor, stage: str = "neck") -> Tensor | tuple[Tensor, ...]:
        """The student's features of (N, 3, H, W) images, or of the first of two channels (N, 2, 3, H, W)."""
        return super().extract_feat(inputs[:, 0] if inputs.ndim == 5 else inputs, stage)

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Losses of a batch of two channels, (N, 2, 3, H, W).

        Raises:
            ConfigError: a channel is missing, or they are others than ``channels``.
        """
        self._check_training_images(inputs, data_samples)
        target = _targets(data_samples)
        features = self.extract_feat(inputs[:, 0])
        scores = self.head(features)
        with torch.set_grad_enabled(not self.freeze_teacher and torch.is_grad_enabled()):
            teacher_features = self.teacher.extract_feat(inputs[:, 1])
            teacher_scores = self.teacher.head(teacher_features)
        count = len(data_samples)
        losses = {
            "loss_cls": (1 - self.soft_weight) * self.head.loss_module(scores, target, avg_factor=count),
            "loss_soft": self.soft_weight * soft_label_loss(scores, teacher_scores.detach(), self.temperature),
        }
        if self.feature_weight:
            distance = _feature_distance(features[-1], teacher_features[-1].detach())
            losses["loss_feature"] = self.feature_weight * distance
        if not self.freeze_teacher:
            losses["loss_teacher"] = self.teacher.head.loss_module(teacher_scores, target, avg_factor=count)
        return losses

    def predict(self, inputs: Tensor, data_samples: list[DataSample] | None = None, **kwargs: Any) -> list[DataSample]:
        """The student's scores, from its channel alone.

        Raises:
            ConfigError: the images show another channel.
        """
        shown = self._channel_of(data_samples)
        if shown not in (None, self.input_channel, "+".join(self.channels)):
            raise ConfigError(
                f"CrossModalDistiller: the student looks at {self.input_channel}. Received: images of {shown}; set the "
                "data set's `channels`, or the model's"
            )
        return super().predict(inputs, data_samples, **kwargs)

    def _check_training_images(self, inputs: Tensor, data_samples: list[DataSample]) -> None:
        shown = self._channel_of(data_samples)
        if inputs.ndim != 5 or shown not in (None, "+".join(self.channels)):
            raise ConfigError(
                f"CrossModalDistiller: training needs {' and '.join(self.channels)} of each cell, in this order, as "
                f"the two planes of one image. Received: {shown or 'images'} in batches of shape "
                f"{tuple(inputs.shape)}; set channels={self.channels}, combine='stack' for the training set and "
                "LoadCellImage(to_channels=None)"
            )

    @staticmethod
    def _channel_of(data_samples: list[DataSample] | None) -> str | None:
        return data_samples[0].get("channel") if data_samples else None


def soft_label_loss(scores: Tensor, teacher_scores: Tensor, temperature: float) -> Tensor:
    """``temperature**2 * KL(teacher || student)`` of softened class scores (N, K), mean over N (Hinton et al. 2015).

    The factor keeps its gradient comparable to that of hard labels at any temperature.
    """
    student = functional.log_softmax(scores / temperature, dim=1)
    teacher = functional.log_softmax(teacher_scores / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _feature_distance(features: Tensor, teacher_features: Tensor) -> Tensor:
    """Mean squared distance between features (N, D) brought to unit length: 0 to 4."""
    if features.shape != teacher_features.shape:
        raise ConfigError(
            "CrossModalDistiller: feature_weight compares features of one length. Received: "
            f"{tuple(features.shape[1:])} of the student, {tuple(teacher_features.shape[1:])} of the teacher; take the "
            "same network for both, or feature_weight=0"
        )
    difference = functional.normalize(features.flatten(1)) - functional.normalize(teacher_features.flatten(1))
    return difference.square().sum(dim=1).mean()


def _targets(data_samples: list[DataSample]) -> Tensor:
    """Labels (N,), or scores (N, K) where images were mixed."""
    if "gt_score" in data_samples[0]:
        return torch.stack([sample.gt_score for sample in data_samples])
    return torch.cat([sample.gt_label for sample in data_samples])


def _check_parameters(temperature: float, soft_weight: float, feature_weight: float, channels: Sequence[str]) -> None:
    problems = {
        "temperature must be above 0": not temperature > 0,
        "soft_weight must be from 0 to 1": not 0 <= soft_weight <= 1,
        "feature_weight must be at least 0": not feature_weight >= 0,
        "channels must be two names": isinstance(channels, str) or len(channels) != 2,
    }
    if wrong := [rule for rule, broken in problems.items() if broken]:
        raise ConfigError(
            f"CrossModalDistiller: {'; '.join(wrong)}. Received: temperature={temperature}, soft_weight={soft_weight}, "
            f"feature_weight={feature_weight}, channels={channels!r}"
        )
