"""Pretrained weights named by a config: found before the first epoch, left out on request, told from random ones."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from mmengine.registry import MODELS, WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ctc_mm.engine.checkpoint import load_checkpoint_safely, state_dict_of
from ctc_mm.engine.weight_sources import locate_weights
from ctc_mm.errors import CheckpointError
from ctc_mm.models.backbones import PretrainedClassifier, PretrainedVGG, vgg16_to_ssd_vgg

# These rename what they read, and fill all of a module or fail.
RENAMING_TYPES = (PretrainedClassifier, PretrainedVGG)
PRETRAINED_TYPES = {
    "Pretrained": PretrainedInit,
    "PretrainedInit": PretrainedInit,
    **{one.__name__: one for one in RENAMING_TYPES},
}


class PretrainedEntry(NamedTuple):
    """One place of a config that asks for weights.

    Attributes:
        path: where it stands, in the form ``--cfg-options`` takes, as ``model.backbone.init_cfg``.
        owner: what holds it: the module's config, or the list of its initialisers.
        key: its key or index in ``owner``.
        initializer: ``PretrainedInit`` or one of ``RENAMING_TYPES``.
        checkpoint: the file, URL or name of the weights.
        prefix: the part of the file it takes.
    """

    path: str
    owner: Any
    key: str | int
    initializer: type
    checkpoint: str
    prefix: str | None

    @property
    def option(self) -> str:
        """The ``--cfg-options`` key that gives other weights."""
        return self.path if self.path.endswith(".pretrained") else f"{self.path}.checkpoint"


def find_pretrained(model_cfg: Mapping[str, Any], path: str = "model") -> list[PretrainedEntry]:
    """Every ``init_cfg`` of one of ``PRETRAINED_TYPES``, and every deprecated ``pretrained='...'``, in order."""
    return list(_walk(model_cfg, path))


def _walk(node: Any, path: str) -> Iterator[PretrainedEntry]:
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in items:
        here = f"{path}.{key}"
        if key == "pretrained" and isinstance(value, str):
            yield PretrainedEntry(here, node, key, PretrainedInit, value, None)
        elif isinstance(value, Mapping) and (initializer := _initializer_of(value)) is not None:
            yield PretrainedEntry(here, node, key, initializer, value["checkpoint"], value.get("prefix"))
        else:
            yield from _walk(value, here)


def _initializer_of(init_cfg: Mapping[str, Any]) -> type | None:
    kind = init_cfg.get("type")
    if "checkpoint" not in init_cfg or kind is None:
        return None
    if isinstance(kind, str):
        return PRETRAINED_TYPES.get(kind.rpartition(".")[2])
    return kind if kind in PRETRAINED_TYPES.values() else None


def require_pretrained_weights(model_cfg: Mapping[str, Any], trust: bool = False) -> list[str]:
    """Find, download and read all weights that a model config names, before anything is built.

    Args:
        model_cfg: ``cfg.model``.
        trust: as in :func:`ctc_mm.engine.checkpoint.load_checkpoint_safely`.

    Returns:
        The local files, in the config's order.

    Raises:
        CheckpointError: weights that cannot be found, downloaded or read; the message says how to give a local file
            and how to train without them.
    """
    files = []
    for entry in find_pretrained(model_cfg):
        try:
            file = locate_weights(entry.checkpoint)
            weights = state_dict_of(load_checkpoint_safely(file, trust), file)
            if entry.initializer is PretrainedVGG:
                vgg16_to_ssd_vgg(weights, entry.prefix)
            elif entry.prefix and not any(name.startswith(entry.prefix) for name in weights):
                raise CheckpointError(f"{file}: no weight's name begins with the prefix {entry.prefix!r}")
        except CheckpointError as error:
            raise CheckpointError(
                f"{entry.path}: pretrained weights `{entry.checkpoint}` cannot be used: {error}\n"
                f"  give a local file:  --cfg-options {entry.option}=FILE\n"
                f"  or train without:   tools/train.py CONFIG --from-scratch"
            ) from error
        files.append(str(file))
    return files


def train_from_scratch(cfg: Config) -> Config:
    """A copy of ``cfg`` that trains from random weights, each change logged.

    Pretrained ``init_cfg`` go (the module's own random initialisation comes back), and with them what only makes sense
    on pretrained weights: the modules' ``frozen_stages`` and ``norm_eval``, ``load_from``, ``FreezeBackboneHook``, and
    the late begin of ``DelayedEarlyStoppingHook``.

    Args:
        cfg: a whole config; it is not changed.
    """
    cfg = copy.deepcopy(cfg)
    changes = []
    for module_cfg, path in _modules_with_pretrained(cfg.model):
        changes += _free_frozen_parts(module_cfg, path, cfg.get("default_scope"))
    # From the back, so that indices into lists of initialisers stay right.
    for entry in reversed(find_pretrained(cfg.model)):
        del entry.owner[entry.key]
        changes.append(f"{entry.path} ({entry.checkpoint}) left out")
    if cfg.get("load_from") and not cfg.get("resume"):
        changes.append(f"load_from ({cfg.load_from}) left out")
        cfg.load_from = None
    changes += _free_hooks(cfg)
    for change in changes:
        print_log(f"from scratch: {change}", logger="current")
    return cfg


def _modules_with_pretrained(node: Any, path: str = "model") -> Iterator[tuple[Any, str]]:
    """Configs of the modules that themselves name pretrained weights."""
    if isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _modules_with_pretrained(value, f"{path}.{index}")
    if not isinstance(node, Mapping):
        return
    own = {key: node[key] for key in ("init_cfg", "pretrained") if key in node}
    if find_pretrained(own):
        yield node, path
    for key, value in node.items():
        if key not in own:
            yield from _modules_with_pretrained(value, f"{path}.{key}")


def _free_frozen_parts(module_cfg: Any, path: str, scope: str | None) -> list[str]:
    """A frozen stage, or a BatchNorm kept at statistics it never gathered, would stay random for good."""
    with MODELS.switch_scope_and_registry(scope) as registry:
        module_class = registry.get(module_cfg["type"]) if isinstance(module_cfg["type"], str) else module_cfg["type"]
    known = inspect.signature(module_class).parameters if module_class is not None else {}
    # Libraries differ in which number freezes nothing, -1 or 0; their default does.
    no_stage = known["frozen_stages"].default if "frozen_stages" in known else -1
    changes = []
    for key, free in (("frozen_stages", no_stage), ("norm_eval", False)):
        before = module_cfg.get(key, known[key].default if key in known else free)
        if before != free:
            module_cfg[key] = free
            changes.append(f"{path}.{key} set from {before} to {free}")
    return changes


def _free_hooks(cfg: Config) -> list[str]:
    changes, kept = [], []
    for hook in cfg.get("custom_hooks") or []:
        kind = hook.get("type") if isinstance(hook, Mapping) else type(hook)
        name = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
        if name == "FreezeBackboneHook":
            changes.append("FreezeBackboneHook left out: a random backbone must learn")
            continue
        if name == "DelayedEarlyStoppingHook" and isinstance(hook, Mapping) and hook.get("begin_epoch"):
            changes.append(f"DelayedEarlyStoppingHook.begin_epoch set from {hook['begin_epoch']} to 0")
            hook["begin_epoch"] = 0
        kept.append(hook)
    if changes:
        cfg.custom_hooks = kept
    return changes


def pretrained_parameter_names(model: nn.Module) -> set[str]:
    """Names of the parameters that an ``init_cfg`` filled with pretrained weights (each file is read once more).

    What a file names or shapes differently does not count: MMEngine leaves it random with a warning.

    Args:
        model: after ``init_weights``; without a wrapper.
    """
    parameters = dict(model.named_parameters())
    filled: set[str] = set()
    for module_name, module in model.named_modules():
        init_cfgs = getattr(module, "init_cfg", None) if getattr(module, "is_init", False) else None
        for entry in find_pretrained({"init_cfg": init_cfgs}, module_name):
            prefix = f"{module_name}." if module_name else ""
            weights = {f"{prefix}{name}": value for name, value in _tensors_for(module, entry).items()}
            filled |= matching_names(parameters, weights)
    return filled


def matching_names(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> set[str]:
    """Names in both, with equal shapes: what ``load_state_dict(strict=False)`` of MMEngine fills."""
    return {name for name, value in parameters.items() if name in weights and weights[name].shape == value.shape}


def _tensors_for(module: nn.Module, entry: PretrainedEntry) -> Mapping[str, Tensor]:
    if entry.initializer in RENAMING_TYPES:
        cfg = dict(entry.owner[entry.key], type=entry.initializer)
        return WEIGHT_INITIALIZERS.build(cfg).state_dict_for(module)
    weights = state_dict_of(CheckpointLoader.load_checkpoint(entry.checkpoint, "cpu"), entry.checkpoint)
    prefix = f"{entry.prefix.removesuffix('.')}." if entry.prefix else "module."
    cut = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    return cut if entry.prefix else {**weights, **cut}
