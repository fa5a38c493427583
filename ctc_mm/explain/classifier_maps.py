"""One forward pass of a classifier with the feature maps that Grad-CAM explains, without a trace left behind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import pooling

from ctc_mm.errors import ConfigError
from ctc_mm.explain.activations import as_maps

POOLING = (
    pooling._MaxPoolNd,
    pooling._AvgPoolNd,
    pooling._LPPoolNd,
    pooling._AdaptiveMaxPoolNd,
    pooling._AdaptiveAvgPoolNd,
)

# What ImageNet's networks have at the end, at the 224 px that they are made for.
FEWEST_PLACES = 7


@dataclass(frozen=True)
class ClassifierPass:
    """What one image gave on its way through a classifier, with the autograd graph.

    Attributes:
        activation: (1, C, h, w), the maps to explain.
        layer: name of the module that gave them, as in ``model.named_modules()``.
        logits: (K,), class scores before softmax.
        scores: (K,), as the model reports them; detached.
    """

    activation: Tensor
    layer: str
    logits: Tensor
    scores: Tensor


def run_classifier(model: nn.Module, inputs: Tensor, sample: Any, layer: str | None = None) -> ClassifierPass:
    """Predict as in a test, and keep the maps of a layer and the logits.

    By default the maps are the last ones before pooling (Selvaraju 2017, section 3), whatever the network and wherever
    its fully connected layers lie. At 224 px ImageNet's networks have at least 7x7 places there; at 64 px a ResNet has
    2x2, which point at nothing in a cell (docs/guides/explain.md), so the last ones of at least 7 places a side are
    taken: among the tensors that all information from the image passes (no branch beside a shortcut), the last one that
    no pooling gave.

    Args:
        model: an ``ImageClassifier`` of MMPretrain, or one that predicts as it does, in eval mode; autograd is on.
        inputs: (1, C, H, W), preprocessed.
        sample: its data sample; gets the prediction.
        layer: module to explain. One that runs several times counts with its last run.

    Raises:
        ValueError: there is no such layer, or it gives no map; the message lists those that do.
        ConfigError: the model gives no maps, or no scores with logits behind them.
    """
    record: list[tuple[str, Any]] = []
    pooled: list[Tensor] = []
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            hook = module.register_forward_hook(_recorder(name, record, pooled, layer))
            hooks.callback(hook.remove)
        # The image needs the gradient: in a frozen model nothing else does.
        image = inputs.detach().requires_grad_()
        predicted = model(image, [sample], mode="predict")
    scores = getattr(predicted[0], "pred_score", None)
    if scores is None:
        raise ConfigError(f"{type(model).__name__} predicts no `pred_score`; Grad-CAM explains image classifiers")
    logits = _logits(model, record, scores)
    name, activation = _named_maps(record, layer) if layer else _last_maps(model, record, pooled, logits, image)
    if not activation.requires_grad:
        raise ConfigError(f"layer {name!r} runs without gradients (torch.no_grad), so its maps cannot be explained")
    return ClassifierPass(activation, name, logits, scores.detach())


def _recorder(name: str, record: list[tuple[str, Any]], pooled: list[Tensor], layer: str | None) -> Any:
    def hook(module: nn.Module, _inputs: Any, output: Any) -> Any:
        record.append((name, output))
        if isinstance(module, POOLING):
            pooled.extend(as_maps(output))
        # A ReLU that works in place must not change the maps of the layer before it that someone asked for.
        return _copied(output) if name and name == layer else None

    return hook


def _copied(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.clone()
    return type(output)(_copied(one) for one in output) if isinstance(output, list | tuple) else output


def _named_maps(record: Sequence[tuple[str, Any]], layer: str) -> tuple[str, Tensor]:
    found = [maps[-1] for name, output in record if name == layer and (maps := as_maps(output))]
    if not found:
        usable = dict.fromkeys(name for name, output in record if name and as_maps(output))
        raise ValueError(f"`layer`: no module {layer!r} gives (1, C, H, W) maps; those that do: {', '.join(usable)}")
    return layer, found[-1]


def _last_maps(
    model: nn.Module, record: Sequence[tuple[str, Any]], pooled: Sequence[Tensor], logits: Tensor, image: Tensor
) -> tuple[str, Tensor]:
    # By identity: a Sequential that ends in a pooling returns the pooled tensor itself.
    unusable = {id(tensor) for tensor in pooled}
    maps: dict[int, Tensor] = {}
    for _, output in record:
        if isinstance(output, Tensor) and output.ndim == 3 and output.shape[1] > 1:
            maps.clear()  # tokens: what came before is not the last that the network knows of places
        maps.update({id(one): one for one in as_maps(output) if id(one) not in unusable and _places(one) > 1})
    latest_first = list(reversed(maps.values()))
    fine = [one for one in latest_first if _places(one) >= FEWEST_PLACES]
    chosen = next((one for one in (*fine, *latest_first) if _passes_all(one, logits, image)), None)
    if chosen is None:
        raise ConfigError(
            f"{type(model).__name__}: no module gives convolutional maps of more than one place that all its scores "
            "come from, so it is unclear what Grad-CAM should explain; name a layer, or give larger images"
        )
    # The outermost of the modules that give this very tensor has the name that people know: layer4, not layer4.1.relu.
    names = [name for name, output in record if output is chosen]
    return (names[-1] if names else ""), chosen


def _places(maps: Tensor) -> int:
    """Places along the shorter side; 1 where nothing differs from place to place."""
    return min(maps.shape[-2:]) if maps.shape[-2] * maps.shape[-1] > 1 else 1


def _passes_all(maps: Tensor, logits: Tensor, image: Tensor) -> bool:
    """Whether all that the logits know of the image has gone through these maps: no way around them in the graph."""
    if maps.grad_fn is None:
        return False
    waiting, seen = [logits.grad_fn], {maps.grad_fn}
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if getattr(node, "variable", None) is image:
            return False
        waiting += [before for before, _ in node.next_functions]
    return True


def _logits(model: nn.Module, record: Sequence[tuple[str, Any]], scores: Tensor) -> Tensor:
    for _, output in reversed(record):
        if isinstance(output, Tensor) and tuple(output.shape) == (1, *scores.shape) and output.requires_grad:
            return output[0]
    raise ConfigError(
        f"{type(model).__name__}: no module gives logits (1, {len(scores)}) for its scores, so there is nothing to "
        "differentiate; Grad-CAM explains classifiers whose head maps features to one logit a class"
    )
