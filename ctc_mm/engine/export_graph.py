"""Models as graphs of tensors alone, which ONNX can hold: from prepared images to boxes, or to probabilities."""

from __future__ import annotations

import torch
from mmdet.models import SingleStageDetector
from mmengine.model import ImgDataPreprocessor
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from ctc_mm.counting.engines.model_file import BoxRules
from ctc_mm.counting.engines.preparation import Geometry
from ctc_mm.engine.export_heads import head_graph
from ctc_mm.engine.export_nms import BoxSelection, require_nms_in_graph
from ctc_mm.errors import ConfigError


class DetectorGraph(nn.Module):
    """From prepared windows to the scores and the decoded boxes of all priors.

    Args:
        model: a detector of one stage, in evaluation mode.
        input_chw: of a prepared window; it is fixed, since the priors are.

    Raises:
        ConfigError: the head is none whose boxes the graph makes; it is named.
    """

    def __init__(self, model: SingleStageDetector, input_chw: tuple[int, int, int]) -> None:
        super().__init__()
        family = head_graph(model)
        self.model = model
        with torch.no_grad():
            outputs = self._head_outputs(torch.zeros(1, *input_chw))
        self.decode = family(model.bbox_head, outputs)

    @property
    def has_factors(self) -> bool:
        """Whether there is a third output."""
        return self.decode.has_factors

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Args:
            images: float32 (N, C, H, W), 0 to 255.

        Returns:
            Scores (N, P, classes) without the background; boxes (N, P, 4) in pixels of the input, not clipped; and of
            heads that have one (centerness, IoU, objectness) the factor (N, P) of the scores, which counts after their
            selection.
        """
        return self.decode(self._head_outputs(images))

    def _head_outputs(self, images: Tensor) -> tuple:
        # MMDetection's own class adds lists of sizes to the tensors, which no graph can hold.
        normalised = ImgDataPreprocessor.forward(self.model.data_preprocessor, {"inputs": images})["inputs"]
        return self.model.bbox_head(self.model.extract_feat(normalised))

    def rules(self) -> BoxRules:
        """What is done with the outputs, by the model's ``test_cfg``."""
        return self.decode.rules()


class SelectingGraph(nn.Module):
    """From prepared windows to the boxes of each, NMS included; see ``BoxSelection`` for what comes out.

    Args:
        graph: of the model.
        geometry: how its windows lie in the input.
        name: of the model, for messages.

    Raises:
        ConfigError: the model's NMS cannot be part of a graph.
    """

    def __init__(self, graph: DetectorGraph, geometry: Geometry, name: str) -> None:
        super().__init__()
        rules = graph.rules()
        require_nms_in_graph(rules, name)
        self.detector = graph  # the name `graph` is taken in what torch traces
        self.select = BoxSelection(rules, geometry, graph.decode.head.num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Scores (N, M), labels (N, M) and boxes (N, M, 4) for float32 (N, C, H, W) images, 0 to 255."""
        return self.select(*self.detector(images))

    def rules(self) -> BoxRules:
        """What the graph does."""
        return self.detector.rules()


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
