"""How torchvision names the weights of networks that MMPretrain builds too."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_DENSE_LAYER = re.compile(r"stages\.(\d+)\.block\.(\d+)\.(.+)")
_TRANSITION = re.compile(r"transitions\.(\d+)\.(norm|conv)\.(.+)")
_LAST_NORM = re.compile(r"transitions\.\d+\.0\.(.+)")
_INVERTED_RESIDUAL = re.compile(r"layers\.(\d+\.\d+)\.(expand_conv|depthwise_conv|se|linear_conv)\.(.+)")
_MB_CONV = re.compile(r"features\.(\d+\.\d+)\.block\.")
_LEGACY_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def to_torchvision_names(names: Collection[str], file_names: Iterable[str]) -> dict[str, str]:
    """MMPretrain's name of each weight of a backbone -> torchvision's.

    ResNet and AlexNet bear the same names in both; VGG, DenseNet and EfficientNet are told by theirs.

    Args:
        names: all names of the backbone.
        file_names: names of the file, with whatever prefix; they tell how many blocks its stages have.
    """
    if "features.0.conv.weight" in names:
        return _vgg_names(names)
    if "stem.0.weight" in names:
        return {name: _densenet_name(name) for name in names}
    if "layers.0.conv.weight" in names:
        return _efficientnet_names(names, file_names)
    return {name: name for name in names}


def without_legacy_names(names: Iterable[str]) -> dict[str, str]:
    """A torchvision file's name of each weight -> the one of today: DenseNet's files still say ``norm.1``."""
    return {name: _LEGACY_DENSE_LAYER.sub(r"\1\2", name) for name in names}


def _vgg_names(names: Collection[str]) -> dict[str, str]:
    """MMPretrain counts convolution, BatchNorm and ReLU as one module, torchvision as two or three."""
    places = sorted({int(name.split(".")[1]) for name in names})
    modules_per_conv = 3 if any(".bn." in name for name in names) else 2
    new_place = {place: place + index * (modules_per_conv - 1) for index, place in enumerate(places)}
    renamed = {}
    for name in names:
        _, place, part, kind = name.split(".")
        renamed[name] = f"features.{new_place[int(place)] + (part == 'bn')}.{kind}"
    return renamed


def _densenet_name(name: str) -> str:
    if match := _DENSE_LAYER.fullmatch(name):
        return f"features.denseblock{int(match[1]) + 1}.denselayer{int(match[2]) + 1}.{match[3]}"
    if match := _TRANSITION.fullmatch(name):
        return f"features.transition{int(match[1]) + 1}.{match[2]}.{match[3]}"
    if match := _LAST_NORM.fullmatch(name):
        return f"features.norm5.{match[1]}"
    return name.replace("stem.0.", "features.conv0.").replace("stem.1.", "features.norm0.")


def _efficientnet_names(names: Collection[str], file_names: Iterable[str]) -> dict[str, str]:
    """MMPretrain joins stages of equal resolution, so blocks are matched in the order of computation."""
    ours = sorted({_places(match[1]) for name in names if (match := _INVERTED_RESIDUAL.fullmatch(name))})
    theirs = sorted({_places(match[1]) for name in file_names if (match := _MB_CONV.search(name))})
    # Blocks that the file lacks get a name that it lacks.
    theirs += [(0, index) for index in range(len(ours) - len(theirs))]
    last_stage = max((stage for stage, _ in theirs), default=0) + 1
    block_names = {ours_at: f"features.{stage}.{block}" for ours_at, (stage, block) in zip(ours, theirs, strict=False)}
    renamed = {}
    for name in names:
        if match := _INVERTED_RESIDUAL.fullmatch(name):
            block, part, rest = match.groups()
            parts = ["depthwise_conv", "se", "linear_conv"]
            if f"layers.{block}.expand_conv.conv.weight" in names:  # the first stage does not widen its input
                parts.insert(0, "expand_conv")
            place = f"{block_names[_places(block)]}.block.{parts.index(part)}"
            renamed[name] = f"{place}.{_squeeze_name(rest) if part == 'se' else _conv_or_norm(rest)}"
        else:
            _, stage, rest = name.split(".", 2)
            renamed[name] = f"features.{last_stage if int(stage) else 0}.{_conv_or_norm(rest)}"
    return renamed


def _places(block: str) -> tuple[int, ...]:
    return tuple(int(place) for place in block.split("."))


def _conv_or_norm(rest: str) -> str:
    return rest.replace("conv.", "0.").replace("bn.", "1.")


def _squeeze_name(rest: str) -> str:
    return rest.replace("conv1.conv.", "fc1.").replace("conv2.conv.", "fc2.")
