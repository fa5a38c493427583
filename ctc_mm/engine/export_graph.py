"""Models as graphs of tensors alone, which ONNX can hold: from prepared images to all priors, or to probabilities."""

from __future__ import annotations

import torch
from mmdet.models import SingleStageDetector
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder, DistancePointBBoxCoder
from mmengine.model import ImgDataPreprocessor
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from ctc_mm.counting.engines.model_file import BoxRules
from ctc_mm.errors import ConfigError

CODERS = (DeltaXYWHBBoxCoder, DistancePointBBoxCoder)
# What is done outside of the graph; a head that does it in its own way would be exported wrongly.
SHARED_STEPS = ("predict", "predict_by_feat", "_predict_by_feat_single", "_bbox_post_process")


class DetectorGraph(nn.Module):
    """From prepared windows to the scores and the decoded boxes of all priors.

    Args:
        model: a detector of one stage, in evaluation mode.
        input_chw: of a prepared window; it is fixed, since the priors are.

    Raises:
        ConfigError: the head is none whose boxes are selected as ``BaseDenseHead`` does it; it is named.
    """

    def __init__(self, model: SingleStageDetector, input_chw: tuple[int, int, int]) -> None:
        super().__init__()
        check_detector(model)
        self.model = model
        with torch.no_grad():
            outputs = self._head_outputs(torch.zeros(1, *input_chw))
        self.has_factors = len(outputs) > 2
        sizes = [level.shape[-2:] for level in outputs[0]]
        priors = model.bbox_head.prior_generator.grid_priors(sizes, dtype=torch.float32, device="cpu")
        self.level_sizes = tuple(len(level) for level in priors)
        self.register_buffer("priors", torch.cat(priors), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Args:
            images: float32 (N, C, H, W), 0 to 255.

        Returns:
            Scores (N, P, classes) without the background; boxes (N, P, 4) in pixels of the input, not clipped; and of
            heads that have one (centerness, IoU) the factor (N, P) of the scores, which counts after their selection.
        """
        head, outputs = self.model.bbox_head, self._head_outputs(images)
        logits = _rows(outputs[0], head.cls_out_channels)
        scores = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]
        deltas = _rows(outputs[1], 4)
        count = images.shape[0]
        priors = self.priors.expand(count, -1, -1).flatten(0, 1)
        boxes = head.bbox_coder.decode(priors, deltas.flatten(0, 1))
        found = (scores, boxes.unflatten(0, (count, -1)))
        return (*found, _rows(outputs[2], 1)[..., 0].sigmoid()) if self.has_factors else found

    def _head_outputs(self, images: Tensor) -> tuple:
        # MMDetection's own class adds lists of sizes to the tensors, which no graph can hold.
        normalised = ImgDataPreprocessor.forward(self.model.data_preprocessor, {"inputs": images})["inputs"]
        return self.model.bbox_head(self.model.extract_feat(normalised))

    def rules(self) -> BoxRules:
        """What is done with the outputs, by the model's ``test_cfg``."""
        config = self.model.bbox_head.test_cfg
        return BoxRules(
            score_thr=float(config.get("score_thr", 0)),
            nms_pre=int(config.get("nms_pre", -1)),
            nms=dict(config.nms),
            max_per_img=int(config.max_per_img),
            min_bbox_size=float(config.get("min_bbox_size", -1)),
            clip=bool(getattr(self.model.bbox_head.bbox_coder, "clip_border", True)),
            level_sizes=self.level_sizes,
        )


class ClassifierGraph(nn.Module):
    """From prepared cells to the probability of each class.

    Raises:
        ConfigError: the head does not give one probability a class by softmax; it is named.
    """

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        head = getattr(model, "head", None)
        if not isinstance(model, ImageClassifier) or type(head)._get_predictions is not ClsHead._get_predictions:
            raise ConfigError(
                f"{type(model).__name__} with {type(head).__name__} cannot be exported: classifiers are, whose head "
                "gives one score a class for a softmax (LinearClsHead, StackedLinearClsHead ...)"
            )
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(N, classes) for float32 (N, C, H, W) images, 0 to 255."""
        normalised = self.model.data_preprocessor({"inputs": images})["inputs"]
        return self.model.head(self.model.extract_feat(normalised)).softmax(1)


def check_detector(model: nn.Module) -> None:
    """Refuse a detector whose boxes the outputs of :class:`DetectorGraph` do not make.

    Raises:
        ConfigError: naming its head and why.
    """
    head = getattr(model, "bbox_head", None)
    name = f"{type(model).__name__} with {type(head).__name__}"
    if not isinstance(model, SingleStageDetector) or not isinstance(head, BaseDenseHead):
        raise ConfigError(f"{name} cannot be exported: detectors of one stage with a dense head are, such as SSD")
    own = [step for step in SHARED_STEPS if getattr(type(head), step) is not getattr(BaseDenseHead, step)]
    coder = getattr(head, "bbox_coder", None)
    if own or type(coder) not in CODERS:
        why = f"it has its own {', '.join(own)}" if own else f"it decodes boxes by {type(coder).__name__}"
        raise ConfigError(
            f"{name} cannot be exported: {why}; heads that select boxes as MMDetection's BaseDenseHead does can be "
            "(CTCSSDHead, RetinaHead, FCOSHead, ATSSHead). Count with --engine torch"
        )
    if type(model.data_preprocessor).forward is not DetDataPreprocessor.forward:
        own = type(model.data_preprocessor).__name__
        raise ConfigError(f"{name} cannot be exported: its {own} prepares images in its own way")
    if getattr(head.loss_cls, "custom_cls_channels", False):
        raise ConfigError(f"{name} cannot be exported: its loss has channels of its own for the classes")


def _rows(levels: list[Tensor], channels: int) -> Tensor:
    """(N, priors a cell * channels, H, W) a level -> (N, all priors, channels)."""
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, channels)) for x in levels], dim=1)
