"""The config of one training among several: with its own seed and folder, and ready to be taken up again."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import pprint
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ctc_mm.errors import ConfigError
from ctc_mm.formats.files import atomic_path, atomic_write_text

SCALARS_BACKEND = "LocalVisBackend"
# What says where things lie, not what they are: another folder is no other config.
PLACES = ("work_dir", "data_root", "filename")
LINE_LENGTH = 110


def run_config(config: Config, seed: int, work_dir: Path) -> Config:
    """Copy a config for one training of several.

    Args:
        config: that all of them have in common.
        seed: of this training.
        work_dir: of this training.

    Raises:
        ConfigError: it keeps no checkpoints.
    """
    config = copy.deepcopy(config)
    config.work_dir = str(work_dir)
    config.randomness = dict(config.get("randomness") or {}, seed=seed)
    config.resume = False
    hook = (config.get("default_hooks") or {}).get("checkpoint")
    if not isinstance(hook, Mapping):
        raise ConfigError(
            "the config has no `default_hooks.checkpoint`; an interrupted training goes on from the checkpoints of a "
            "CheckpointHook, and the best of them is tested. Add dict(type='CheckpointHook', interval=1, ...)."
        )
    if 0 < hook.get("max_keep_ckpts", -1) < 2:
        # MMEngine removes the former one before it saves the next: killed in between, one of two is left.
        hook["max_keep_ckpts"] = 2
    config.custom_hooks = [*(config.get("custom_hooks") or []), dict(type="ctc_mm.FinishedEpochHook")]
    backends = list((config.get("visualizer") or {}).get("vis_backends") or [])
    if not any(str(one.get("type")).endswith(SCALARS_BACKEND) for one in backends):
        shown = config.get("visualizer") or dict(type="Visualizer")  # MMEngine's own, where the config has none
        config.visualizer = dict(shown, vis_backends=[*backends, dict(type=SCALARS_BACKEND)])
    return config


def planned_epochs(config: Config) -> int | None:
    """Epochs of a training; None where it counts iterations."""
    return config.train_cfg.get("max_epochs")


def write_config(path: Path, config: Config) -> None:
    """Write a config that is read back equal; laying it out as MMEngine does takes a second, this a millisecond."""
    lines = [
        f"{name} = {pprint.pformat(value, width=LINE_LENGTH, sort_dicts=False)}\n"
        for name, value in config.to_dict().items()
    ]
    try:
        for line in lines:
            ast.literal_eval(line.partition(" = ")[2].strip())
    except (ValueError, SyntaxError):  # classes or functions as values: MMEngine knows how to write them
        with atomic_path(path) as temporary:
            config.dump(temporary)
        return
    atomic_write_text(path, "".join(lines))


def config_identity(config: Config) -> dict[str, str]:
    """Every value of a config by its dotted name, as text, without the places where things lie."""
    return dict(sorted(_flat(config.to_dict(), "")))


def _flat(node: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            if key not in PLACES:
                yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif isinstance(node, list | tuple) and any(isinstance(one, Mapping) for one in node):
        for index, value in enumerate(node):
            yield from _flat(value, f"{name}.{index}")
    else:
        yield name, repr(node)


def digest_text(content: Any) -> str:
    """SHA-256 of JSON-like content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=repr).encode()).hexdigest()
