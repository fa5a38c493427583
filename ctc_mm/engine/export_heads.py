"""Heads of one-stage detectors as tensors alone: from what a head's network gives to scores and boxes of all priors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models import SingleStageDetector
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.dense_heads import YOLOV3Head, YOLOXHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder, DistancePointBBoxCoder, YOLOBBoxCoder
from torch import Tensor, nn

from ctc_mm.counting.engines.model_file import BoxRules
from ctc_mm.errors import ConfigError

# What is done outside of the graph; a head that does it in its own way would be exported wrongly.
SHARED_STEPS = ("predict", "predict_by_feat", "_predict_by_feat_single", "_bbox_post_process")


class HeadGraph(nn.Module):
    """Scores and decoded boxes of all priors; its subclasses know one family of heads each.

    Args:
        head: of the model.
        outputs: of the head's network for one image, to see how many priors there are.

    Attributes:
        has_factors: whether there is a factor of the scores, which counts after their selection.
        level_sizes: priors that are selected from together.
    """

    family: type[BaseDenseHead]
    coders: tuple[type, ...]
    has_factors = False

    def __init__(self, head: BaseDenseHead, outputs: Sequence) -> None:
        super().__init__()
        self.head = head
        self.sizes = [level.shape[-2:] for level in outputs[0]]
        self.level_sizes: tuple[int, ...] = ()

    @classmethod
    def own_steps(cls, head: BaseDenseHead) -> list[str]:
        """Steps that the head does in another way than its family."""
        return [step for step in SHARED_STEPS if getattr(type(head), step) is not getattr(cls.family, step)]

    def forward(self, outputs: Sequence) -> tuple[Tensor, ...]:
        """Scores (N, P, classes) and boxes (N, P, 4) in pixels of the input; of some heads factors (N, P)."""
        raise NotImplementedError

    def rules(self) -> BoxRules:
        """What is done with the outputs, by the model's ``test_cfg``."""
        config = self.head.test_cfg
        return BoxRules(
            score_thr=float(config.get("score_thr", 0)),
            nms_pre=int(config.get("nms_pre", -1)),
            nms=dict(config.nms),
            max_per_img=int(config.get("max_per_img", -1)),
            min_bbox_size=float(config.get("min_bbox_size", -1)),
            clip=bool(getattr(self.head.bbox_coder, "clip_border", False)),
            level_sizes=self.level_sizes,
        )

    def _keep_priors(self, levels: Sequence[Tensor]) -> None:
        self.register_buffer("priors", torch.cat(list(levels)), persistent=False)


class DenseHeadGraph(HeadGraph):
    """Heads that select boxes as ``BaseDenseHead`` does it: SSD, RetinaNet, EfficientDet, FCOS, ATSS, RTMDet."""

    family, coders = BaseDenseHead, (DeltaXYWHBBoxCoder, DistancePointBBoxCoder)

    def __init__(self, head: BaseDenseHead, outputs: Sequence) -> None:
        super().__init__(head, outputs)
        self.has_factors = len(outputs) > 2
        levels = head.prior_generator.grid_priors(self.sizes, dtype=torch.float32, device="cpu")
        self.level_sizes = tuple(map(len, levels))
        self._keep_priors(levels)

    def forward(self, outputs: Sequence) -> tuple[Tensor, ...]:
        """See ``HeadGraph``."""
        logits, deltas = rows(outputs[0], self.head.cls_out_channels), rows(outputs[1], 4)
        scores = logits.sigmoid() if self.head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]
        count = deltas.shape[0]
        priors = self.priors.expand(count, -1, -1).flatten(0, 1)
        boxes = self.head.bbox_coder.decode(priors, deltas.flatten(0, 1))
        found = (scores, boxes.unflatten(0, (count, -1)))
        return (*found, rows(outputs[2], 1)[..., 0].sigmoid()) if self.has_factors else found


class YOLOXHeadGraph(HeadGraph):
    """YOLOX: the best class of each prior alone, its score times the objectness; as many boxes as there are."""

    family, coders = YOLOXHead, (type(None),)

    def __init__(self, head: YOLOXHead, outputs: Sequence) -> None:
        super().__init__(head, outputs)
        levels = head.prior_generator.grid_priors(self.sizes, dtype=torch.float32, device="cpu", with_stride=True)
        self._keep_priors(levels)
        self.level_sizes = (len(self.priors),)

    def forward(self, outputs: Sequence) -> tuple[Tensor, ...]:
        """See ``HeadGraph``."""
        scores = rows(outputs[0], self.head.cls_out_channels).sigmoid()
        objectness = rows(outputs[2], 1).sigmoid()
        boxes = self.head._bbox_decode(self.priors, rows(outputs[1], 4))
        best = nn.functional.one_hot(scores.argmax(-1), scores.shape[-1])
        return scores * objectness * best, boxes

    def rules(self) -> BoxRules:
        """See ``HeadGraph``; YOLOX neither clips boxes nor limits their number."""
        config, pairs = self.head.test_cfg, self.level_sizes[0] * self.head.num_classes
        return BoxRules(float(config.score_thr), pairs, dict(config.nms), -1, -1.0, False, self.level_sizes)


class YOLOV3HeadGraph(HeadGraph):
    """YOLOv3: priors above a least objectness; all levels together, the objectness a factor of the scores."""

    family, coders, has_factors = YOLOV3Head, (YOLOBBoxCoder,), True

    def __init__(self, head: YOLOV3Head, outputs: Sequence) -> None:
        super().__init__(head, outputs)
        levels = head.prior_generator.grid_priors(self.sizes, dtype=torch.float32, device="cpu")
        self._keep_priors(levels)
        self.level_sizes = (len(self.priors),)
        strides = [torch.full((len(level), 1), float(s)) for level, s in zip(levels, head.featmap_strides, strict=True)]
        self.register_buffer("strides", torch.cat(strides), persistent=False)

    def forward(self, outputs: Sequence) -> tuple[Tensor, ...]:
        """See ``HeadGraph``."""
        found = rows(outputs[0], self.head.num_attrib)
        deltas = torch.cat([found[..., :2].sigmoid(), found[..., 2:4]], dim=-1)
        boxes = self.head.bbox_coder.decode(self.priors, deltas, self.strides)
        objectness, scores = found[..., 4].sigmoid(), found[..., 5:].sigmoid()
        least = self.head.test_cfg.get("conf_thr", -1)
        if least > 0:
            scores = torch.where((objectness >= least)[..., None], scores, -torch.ones_like(scores))
        return scores, boxes, objectness


# The first one whose family a head belongs to.
FAMILIES: tuple[type[HeadGraph], ...] = (YOLOXHeadGraph, YOLOV3HeadGraph, DenseHeadGraph)


def head_graph(model: SingleStageDetector) -> type[HeadGraph]:
    """The graph for a detector's head.

    Raises:
        ConfigError: there is none, or the model prepares its images in its own way; its head and why are named.
    """
    head = getattr(model, "bbox_head", None)
    name = type(model).__name__ + (f" with {type(head).__name__}" if head is not None else "")
    if not isinstance(model, SingleStageDetector) or not isinstance(head, BaseDenseHead):
        raise ConfigError(
            f"{name} cannot be exported: detectors of one stage with a dense head are, such as SSD, RetinaNet or "
            "YOLOX. Count with its config and checkpoint (--engine torch)"
        )
    graph = next(one for one in FAMILIES if isinstance(head, one.family))
    own, coder = graph.own_steps(head), getattr(head, "bbox_coder", None)
    if own or type(coder) not in graph.coders:
        why = f"it has its own {', '.join(own)}" if own else f"it decodes boxes by {type(coder).__name__}"
        raise ConfigError(
            f"{name} cannot be exported: {why}; heads that select boxes as MMDetection's BaseDenseHead does can be "
            "(CTCSSDHead, RetinaHead, FCOSHead, ATSSHead, RTMDetHead), YOLOXHead and YOLOV3Head too. Count with "
            "--engine torch"
        )
    if type(model.data_preprocessor).forward is not DetDataPreprocessor.forward:
        own = type(model.data_preprocessor).__name__
        raise ConfigError(f"{name} cannot be exported: its {own} prepares images in its own way")
    if getattr(getattr(head, "loss_cls", None), "custom_cls_channels", False):
        raise ConfigError(f"{name} cannot be exported: its loss has channels of its own for the classes")
    return graph


def rows(levels: Sequence[Tensor], channels: int) -> Tensor:
    """(N, priors a cell * channels, H, W) a level -> (N, all priors, channels)."""
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, channels)) for x in levels], dim=1)
