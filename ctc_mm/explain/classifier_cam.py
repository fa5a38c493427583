"""Grad-CAM of a classifier for one image: what in the cell made it the class that it was called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctc_mm.errors import ConfigError
from ctc_mm.explain.activations import evaluation_mode, preprocess
from ctc_mm.explain.cam import grad_cam, normalize_map, resample_map
from ctc_mm.explain.classifier_maps import run_classifier

TARGET = 0


@dataclass(frozen=True)
class ClassificationCAM:
    """Grad-CAM of one cell, of the size that the network saw it in.

    Attributes:
        cam: float32 (H, W) in [0, 1], the map stretched and enlarged to the image that the test pipeline gave.
        raw: float32 (h, w), not negative: the map as Eq. 3 gives it, in pixels of the layer, comparable between cells.
        image: float32 (H, W) or (H, W, 3), that image: grey, or RGB (of other numbers of channels the first).
        scores: float32 (K,), as the model reports them.
        logits: float32 (K,).
        predicted: the label that the cell is called.
        explained: the label that the map explains.
        layer: the module whose maps are explained.
    """

    cam: np.ndarray
    raw: np.ndarray
    image: np.ndarray
    scores: np.ndarray
    logits: np.ndarray
    predicted: int
    explained: int
    layer: str


def explain_classification(
    model: nn.Module,
    data: Mapping[str, Any],
    *,
    label: int | None = None,
    layer: str | None = None,
    against_others: bool = False,
    score_thr: float | None = None,
) -> ClassificationCAM:
    """Explain the class of one image: ``ReLU(sum_k alpha_k A^k)`` of a layer (Selvaraju 2017, Eq. 1 and 2).

    The model is left as it was: mode of every module, ``requires_grad``, ``.grad``, hooks, running statistics. Frozen
    parameters are no hindrance.

    Args:
        model: a classifier of MMPretrain, or one that predicts as it does.
        data: one item of a test pipeline: ``inputs`` (C, H, W) and ``data_samples``.
        label: explain the logit of this class; by default of the class that the cell is called.
        layer: module to explain, as in ``model.named_modules()``; by default the last convolutional features before
            pooling (:func:`ctc_mm.explain.classifier_maps.run_classifier`). An earlier one has finer maps.
        against_others: explain the log-odds of the class in place of its logit: with two classes logit minus logit.
        score_thr: from this score on the cell is called the target, class 0, else the best of the others; by default
            the class with the highest score.

    Raises:
        ValueError: there is no such class or layer; ``score_thr`` is not a number.
        ConfigError: the model is no such classifier.
    """
    if not hasattr(model, "data_preprocessor") or not hasattr(model, "predict"):
        raise ConfigError(f"Grad-CAM of classes explains classifiers of MMPretrain; received {type(model).__name__}")
    data = {"inputs": data["inputs"], "data_samples": data["data_samples"].clone()}  # it gets the prediction
    with evaluation_mode(model), torch.enable_grad():
        inputs, sample = preprocess(model, data)
        passed = run_classifier(model, inputs, sample, layer)
        scores = passed.scores.float().cpu().numpy()
        predicted = predict_label(scores, score_thr)
        explained = predicted if label is None else label
        if not 0 <= explained < len(scores):
            raise ValueError(f"`label` must be from 0 to {len(scores) - 1}; received {label!r}")
        score = explained_score(passed.logits, explained, against_others)
        gradient = torch.autograd.grad(score, passed.activation, allow_unused=True, materialize_grads=True)[0]
    raw = grad_cam(passed.activation.detach()[0], gradient[0]).float()
    seen_hw = tuple(data["inputs"].shape[-2:])  # the data preprocessor may have padded, right and below
    return ClassificationCAM(
        cam=resample_map(normalize_map(raw), tuple(inputs.shape[-2:]), seen_hw, seen_hw).cpu().numpy(),
        raw=raw.cpu().numpy(),
        image=seen_image(model, data["inputs"]),
        scores=scores,
        logits=passed.logits.detach().float().cpu().numpy(),
        predicted=predicted,
        explained=explained,
        layer=passed.layer,
    )


def predict_label(scores: np.ndarray, score_thr: float | None = None) -> int:
    """The class that scores (K,) stand for: the target (class 0) from ``score_thr`` on, else the best of the others.

    Raises:
        ValueError: ``score_thr`` is not a number.
    """
    if score_thr is None or len(scores) < 2:
        return int(scores.argmax())
    if not np.isfinite(score_thr):
        raise ValueError(f"`score_thr` must be a number; received {score_thr!r}")
    return TARGET if scores[TARGET] >= score_thr else 1 + int(scores[1:].argmax())


def explained_score(logits: Tensor, label: int, against_others: bool) -> Tensor:
    """The scalar whose gradient is taken: the logit of a class, or its log-odds against all others."""
    if not against_others or len(logits) < 2:
        return logits[label]
    others = torch.cat([logits[:label], logits[label + 1 :]])
    return logits[label] - others.logsumexp(0)


def seen_image(model: nn.Module, inputs: Tensor) -> np.ndarray:
    """The image that the test pipeline gave, (H, W) or (H, W, 3) RGB float32, before it was normalised."""
    planes = inputs.detach().float().cpu().numpy()
    if len(planes) != 3:
        return planes[0]
    # Where the preprocessor swaps channels to RGB, the pipeline gave BGR.
    return np.ascontiguousarray(np.moveaxis(planes[::-1] if _swaps_channels(model) else planes, 0, -1))


def _swaps_channels(model: nn.Module) -> bool:
    preprocessor = model.data_preprocessor
    return bool(getattr(preprocessor, "to_rgb", False) or getattr(preprocessor, "_channel_conversion", False))
