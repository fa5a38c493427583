"""Features of named layers: which layers a model has, and what they give while it predicts (reading 13).

Names of layers:

- ``input``: the pixels that the pipeline hands to the model;
- ``conv5``, ``fc2``: the fifth convolution, the second fully connected layer, counted in the order in which the model
  holds them, as its name does: ResNet18 has ``conv1`` to ``conv17`` and ``fc1``, shortcuts do not count, nor does a
  teacher; ``last_conv``, ``last_fc``. Activation and normalisation that stand right behind a convolution belong to it;
- ``pre_logits``: what the last fully connected layer is given;
- every name of ``model.named_modules()``: ``neck``, ``backbone.layer3``, ``backbone.features.7`` ...;
- ``backbone[0]``: of a module with several outputs (stages, levels), or one that is used several times, the first one.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

INPUT, PRE_LOGITS = "input", "pre_logits"
POOLINGS = ("mean", "flatten")
# So many values of a map or image are kept where it is flattened: 14,000 cells and four layers stay under 0.5 GB.
MOST_VALUES = 2048
_ORDINALS = {"conv": nn.modules.conv._ConvNd, "fc": nn.Linear}
_AFTER_CONVOLUTION = (
    nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.ELU,
    nn.PReLU, nn.Hardswish,
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A layer as asked for, and where it is.

    Attributes:
        name: as asked for.
        module: its name in ``model.named_modules()``; None for the pixels.
        of_input: whether what the module is given is meant, not what it returns.
        index: which of several outputs; None: the model's kind decides (:func:`pick_output`).
    """

    name: str
    module: str | None
    of_input: bool = False
    index: int | None = None


def resolve_layers(model: nn.Module, names: Sequence[str]) -> list[Layer]:
    """Find the layers that are asked for.

    Args:
        model: classifier or detector.
        names: see the module's docstring.

    Raises:
        ValueError: a name twice, or one that the model does not have; the message lists the valid ones.
    """
    if isinstance(names, str) or not names or len(set(names)) != len(names):
        raise ValueError(f"`layers` must be different names of layers; received {names!r}")
    aliases = layer_aliases(model)
    modules = {name: Layer(name, name) for name in _module_names(model)}
    return [_resolve(name, {**aliases, **modules}) for name in names]


def layer_aliases(model: nn.Module) -> dict[str, Layer]:
    """Short names (``conv5``, ``last_fc``, ...) of a model's layers."""
    modules = dict(model.named_modules())
    aliases = {INPUT: Layer(INPUT, None)}
    for prefix, kind in _ORDINALS.items():
        found = [name for name in _module_names(model) if isinstance(modules[name], kind) and _is_counted(name)]
        targets = [_with_activation(modules, name) if prefix == "conv" else name for name in found]
        numbered = {f"{prefix}{number}": target for number, target in enumerate(targets, 1)}
        numbered |= {f"last_{prefix}": targets[-1]} if targets else {}
        aliases |= {alias: Layer(alias, target) for alias, target in numbered.items()}
    if "last_fc" in aliases:
        aliases[PRE_LOGITS] = Layer(PRE_LOGITS, aliases["last_fc"].module, of_input=True)
    return aliases


def default_layers(model: nn.Module, is_detector: bool) -> tuple[str, ...]:
    """What is mapped unless layers are named.

    For a classifier the panels of the paper's Figure 8: input, convolution 5, convolution 7, last fully connected
    layer; where there are fewer convolutions, the middle and the last one. For a detector the neck's finest level
    (the backbone's where there is no neck): for SSD what the head sees of cells of usual size.
    """
    if is_detector:
        return ("neck",) if getattr(model, "neck", None) is not None else ("backbone",)
    aliases = layer_aliases(model)
    count = sum(bool(re.fullmatch(r"conv\d+", name)) for name in aliases)
    numbers = (5, 7) if count >= 7 else (math.ceil(count / 2), count)
    wanted = [INPUT, *(f"conv{number}" for number in numbers), "last_fc"]
    return tuple(dict.fromkeys(name for name in wanted if name in aliases))


@contextmanager
def recorded_layers(
    model: nn.Module, layers: Sequence[Layer], keep: Callable[[Tensor], Tensor]
) -> Iterator[dict[str, list[Tensor]]]:
    """What layers give in the forward passes inside the block; the hooks are gone after it, whatever happens.

    Args:
        model: left as it is.
        layers: those with a module.
        keep: what is kept of each tensor, at once: a later module may write into it (ReLU in place).

    Yields:
        By the layer's name all tensors that its module returned (or was given), in their order; clear it between
        batches.
    """
    modules = dict(model.named_modules())
    record: dict[str, list[Tensor]] = {layer.name: [] for layer in layers if layer.module is not None}
    with ExitStack() as hooks:
        for layer in layers:
            if layer.module is not None:
                hook = _hook(record[layer.name], layer.of_input, keep)
                hooks.callback(modules[layer.module].register_forward_hook(hook).remove)
        yield record


def pick_output(layer: Layer, outputs: Sequence[Tensor], default: int) -> Tensor:
    """The one of a layer's outputs that is meant.

    Args:
        layer: asked for.
        outputs: what its module gave in one forward pass.
        default: index where the layer's name has none: -1 for classifiers (the deepest), 0 for detectors (the finest).

    Raises:
        ValueError: the module gave nothing, or has no such output.
    """
    index = default if layer.index is None else layer.index
    if not outputs:
        raise ValueError(f"`layers`: {layer.name!r} gives no map or vector while the model predicts; name another one")
    if index >= len(outputs):
        raise ValueError(f"`layers`: {layer.name!r}: {layer.module} gives {len(outputs)} outputs, counted from [0]")
    return outputs[index]


def to_vectors(maps: Tensor, pooling: str) -> Tensor:
    """One vector a sample, with at most ``MOST_VALUES`` values where it is not one already.

    Args:
        maps: (N, C, H, W) maps, (N, L, C) tokens or (N, F) vectors.
        pooling: ``mean`` over space (global average pooling), or ``flatten``: averaged to a grid that keeps
            ``MOST_VALUES`` at most, then laid out. Vectors stay as they are.

    Returns:
        float32 (N, F) on the CPU, without gradient; a copy.

    Raises:
        ValueError: another shape.
    """
    maps = maps.detach().float()
    if maps.ndim == 3:
        maps = maps.transpose(1, 2)[..., None]
    if maps.ndim == 4:
        maps = maps.mean(dim=(2, 3)) if pooling == "mean" else adaptive_avg_pool2d(maps, _grid(maps)).flatten(1)
    if maps.ndim != 2:
        raise ValueError(
            f"features must be maps (N, C, H, W), tokens (N, L, C) or vectors; received {tuple(maps.shape)}"
        )
    return maps.cpu().clone()


def image_vector(image: Tensor, side: int) -> Tensor:
    """float32 (C * side * side,): the pixels of one image (C, H, W), averaged down (or repeated) to a square."""
    return adaptive_avg_pool2d(image.detach().float().cpu()[None], (side, side)).flatten()


def image_side(image: Tensor) -> int:
    """Side of the square to which images like this one are averaged, so that ``MOST_VALUES`` are enough."""
    channels, height, width = image.shape
    return max(1, min(height, width, math.isqrt(MOST_VALUES // channels)))


def thumbnail(image: Tensor, side: int, is_bgr: bool) -> Tensor:
    """float32 (side, side, 3) RGB of one image (C, H, W), for the eye: of 2 channels the first, of 4 the first 3."""
    image = image.detach().float().cpu()
    image = image[:1].expand(3, -1, -1) if image.shape[0] < 3 else image[:3]
    image = image.flip(0) if is_bgr else image
    shrinks = min(image.shape[1:]) >= side
    mode = dict(mode="area") if shrinks else dict(mode="bilinear", align_corners=False)
    return interpolate(image[None], size=(side, side), **mode)[0].permute(1, 2, 0)


def _resolve(name: str, known: Mapping[str, Layer]) -> Layer:
    base, index = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", str(name)).groups()
    if base not in known:
        raise ValueError(f"`layers`: the model has no layer {name!r}. {_valid_names(base, known)}")
    layer = known[base]
    return Layer(str(name), layer.module, layer.of_input, None if index is None else int(index))


def _valid_names(asked: str, known: Mapping[str, Layer]) -> str:
    """The valid names in words: short ones as ranges, modules down to the second level, and the nearest ones."""
    ranges = []
    for prefix in _ORDINALS:
        count = sum(bool(re.fullmatch(rf"{prefix}\d+", name)) for name in known)
        ranges += [f"{prefix}1 to {prefix}{count}", f"last_{prefix}"] if count else []
    short = [INPUT, *ranges, *([PRE_LOGITS] if PRE_LOGITS in known else [])]
    modules = [name for name, layer in known.items() if layer.module == name]
    shown = [name for name in modules if name.count(".") < 2]
    deeper = len(modules) - len(shown)
    more = f" and {deeper} modules inside them (as in model.named_modules())" if deeper else ""
    near = difflib.get_close_matches(asked, known, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"Valid names: {', '.join(short)}; {', '.join(shown)}{more}.{hint}"


def _module_names(model: nn.Module) -> list[str]:
    names = [name for name, _ in model.named_modules()]
    return [name for name in names if name and name.split(".")[0] != "data_preprocessor"]


def _is_counted(name: str) -> bool:
    """Whether a layer is on the way from the image to the scores: no shortcut of a residual block, no teacher."""
    parts = name.split(".")
    return parts[0] != "teacher" and "downsample" not in parts


def _with_activation(modules: Mapping[str, nn.Module], name: str) -> str:
    """The module after which a convolution's normalisation and activation are done, where they stand beside it."""
    parent, _, own = name.rpartition(".")
    if isinstance(modules[parent], ConvModule):
        return parent
    if not isinstance(modules[parent], nn.Sequential):
        return name
    siblings = list(modules[parent].named_children())
    for sibling, module in siblings[[key for key, _ in siblings].index(own) + 1 :]:
        if not isinstance(module, _AFTER_CONVOLUTION):
            break
        own = sibling
    return f"{parent}.{own}" if parent else own


def _hook(kept: list[Tensor], of_input: bool, keep: Callable[[Tensor], Tensor]) -> Callable[..., None]:
    def hook(_module: nn.Module, inputs: Any, output: Any) -> None:
        kept.extend(keep(tensor) for tensor in _tensors(inputs if of_input else output))

    return hook


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Mapping):
        output = list(output.values())
    found = output if isinstance(output, Sequence) and not isinstance(output, str) else [output]
    return [item for item in found if isinstance(item, Tensor) and item.ndim >= 2]


def _grid(maps: Tensor) -> tuple[int, int]:
    """Rows and columns of the largest grid, as wide for its height as the map, that keeps ``MOST_VALUES`` at most."""
    channels, height, width = maps.shape[1:]
    shrink = min(1.0, math.sqrt(MOST_VALUES / (channels * height * width)))
    return max(1, int(height * shrink)), max(1, int(width * shrink))
