"""Weights of a whole classifier, of torchvision or MMPretrain, sorted into the parts of an MMPretrain model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from ctc_mm.errors import CheckpointError
from ctc_mm.models.backbones.torchvision_names import to_torchvision_names, without_legacy_names

Shapes = Mapping[str, tuple[int, ...]]

# Counted in training alone; older files lack it.
COUNTER = "num_batches_tracked"
# What a file may hold beside the backbone.
BESIDE_BACKBONE = ("fc.", "classifier.", "head.", "neck.", "data_preprocessor.", "teacher.", "backbone.classifier.")
# EfficientNet's last 1x1 convolution serves its classifier alone; MMDetection's backbones are built without.
LAST_CONV = re.compile(r"(?:features\.\d+\.[01]|layers\.\d+\.(?:conv|bn))\..+")
SHOWN = 4

_HIDDEN = re.compile(r"layers\.(\d+)\.fc\.(weight|bias)")
_FULLY_CONNECTED = re.compile(r"(.*?)(?:classifier\.(\d+)|head\.layers\.(\d+)\.fc)\.weight")


def backbone_weights(state_dict: Mapping[str, Tensor], shapes: Shapes, prefix: str | None = None) -> dict[str, Tensor]:
    """The weights of a convolutional backbone, under its own names.

    Args:
        state_dict: a file's tensors: VGG (with BatchNorm or without), AlexNet, ResNet, DenseNet or EfficientNet of
            torchvision, or any network of MMPretrain.
        shapes: name -> shape of every tensor of the MMPretrain backbone.
        prefix: what stands before the network's names in the file, as ``backbone.``; None finds it.

    Raises:
        CheckpointError: a weight is missing or has another shape, or the file's network has more layers.
    """
    today = without_legacy_names(state_dict)
    state_dict = {today[name]: value for name, value in state_dict.items()}
    needed = [name for name in shapes if not name.endswith(COUNTER)]
    layout, before = _best_layout(state_dict, shapes, needed, prefix)
    weights = {name: state_dict[before + theirs] for name, theirs in layout.items() if before + theirs in state_dict}
    _check(weights, shapes, needed, {name: before + layout[name] for name in shapes})
    taken = {before + theirs for theirs in layout.values()}
    more = [
        name
        for name in state_dict
        if name.startswith(before)
        and name not in taken
        and not name.removeprefix(before).startswith(BESIDE_BACKBONE)
        and not LAST_CONV.fullmatch(name.removeprefix(before))
        and not name.endswith(COUNTER)
    ]
    if more:
        raise CheckpointError(f"holds a larger network than the config's: nothing takes {_few(more)}")
    return weights


def hidden_layer_weights(state_dict: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """The weights of all fully connected layers but the last, which stands for the file's own classes.

    Args:
        state_dict: a file's tensors: ``classifier.N`` of torchvision's (or MMPretrain's) VGG and AlexNet, or
            ``head.layers.N.fc`` of MMPretrain's ``StackedLinearClsHead``.
        shapes: name -> shape of every tensor of a ``StackedLinearClsHead``.

    Raises:
        CheckpointError: the file has no such layers, or another number or size of them.
    """
    places = {}
    for name, value in state_dict.items():
        match = _FULLY_CONNECTED.fullmatch(name)
        if match and value.ndim == 2 and "teacher." not in match[1]:
            places[int(match[2] or match[3])] = name.removesuffix("weight")
    sources = [places[place] for place in sorted(places)]
    hidden = sorted({int(match[1]) for name in shapes if (match := _HIDDEN.fullmatch(name))})
    if len(sources) != len(hidden):
        raise CheckpointError(
            f"holds {len(sources)} fully connected layers (`classifier.N` or `head.layers.N.fc`); "
            f"the config's head has {len(hidden)}"
        )
    layout = {
        f"layers.{layer}.fc.{kind}": f"{source}{kind}"
        for layer, source in zip(hidden[:-1], sources, strict=False)
        for kind in ("weight", "bias")
    }
    weights = {name: state_dict[theirs] for name, theirs in layout.items() if theirs in state_dict}
    _check(weights, shapes, list(layout), layout)
    return weights


def whole_classifier_weights(state_dict: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """The weights of backbone, neck and head of a classifier that MMPretrain trained.

    Raises:
        CheckpointError: a weight is missing, has another shape, or belongs to no part of the model.
    """
    weights = {name.removeprefix("module."): value for name, value in state_dict.items()}
    _check(weights, shapes, [name for name in shapes if not name.endswith(COUNTER)], {name: name for name in weights})
    if more := [name for name in weights if name not in shapes]:
        raise CheckpointError(f"holds another network than the config's: nothing takes {_few(more)}")
    return weights


def _best_layout(
    state_dict: Mapping[str, Tensor], shapes: Shapes, needed: list[str], prefix: str | None
) -> tuple[dict[str, str], str]:
    """The naming, MMPretrain's or torchvision's, and the prefix under which the file holds most of ``needed``."""
    layouts = [{name: name for name in shapes}, to_torchvision_names(shapes, state_dict)]
    found: dict[tuple[int, str], int] = {}
    for index, layout in enumerate(layouts):
        first = layout[needed[0]]
        ends = [name.removesuffix(first) for name in state_dict if name.endswith(first)]
        for before in ends if prefix is None else [prefix]:
            found[index, before] = sum(before + layout[name] in state_dict for name in needed)
    most = max(found.values(), default=0)
    if most == 0:
        wanted = sorted({f"{prefix or ''}{layout[needed[0]]}" for layout in layouts})
        raise CheckpointError(f"holds no such network: no {' or '.join(wanted)}, but {_few(state_dict)}")
    best = {before: index for (index, before), count in reversed(found.items()) if count == most}
    if len(best) > 1 and "backbone." not in best:
        raise CheckpointError(f"holds several such networks, at {sorted(best)}: choose one with `prefix`")
    before = "backbone." if len(best) > 1 else next(iter(best))
    return layouts[best[before]], before


def _check(weights: Mapping[str, Tensor], shapes: Shapes, needed: list[str], layout: Mapping[str, str]) -> None:
    if missing := [name for name in needed if name not in weights]:
        raise CheckpointError(
            f"not the config's network: {len(missing)} of {len(needed)} weights are missing, "
            f"such as {_few(layout.get(name, name) for name in missing)}"
        )
    misfits = [name for name, value in weights.items() if name in shapes and tuple(value.shape) != shapes[name]]
    if misfits:
        raise CheckpointError(
            f"not the config's network: {len(misfits)} of {len(needed)} weights have another shape, such as "
            + "; ".join(f"{layout[one]} {tuple(weights[one].shape)} for {shapes[one]}" for one in misfits[:SHOWN])
        )


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "") or "nothing"
