"""What every tool does first: register all parts, read the config, take the command line's changes in."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from ctc_mm.errors import ConfigError

# Keys of a config that are read after it, beside the parameters of MMEngine's Runner.
ALSO_READ = ("data_root", "classes", "channels", "default_scope", "model_wrapper_cfg", "compile")
SCOPES = ("mmdet", "mmpretrain")


def register_all_modules(scope: str = "mmdet") -> None:
    """Import every module that registers something, of both libraries.

    MMEngine imports them by itself too, but swallows an ImportError there and then says only "not in registry".
    MMDetection imports MMPretrain anyway: both together take 0.4 s longer than one of them (5 s with torch).

    Args:
        scope: where names without a prefix are looked up, a config's ``default_scope``: mmdet or mmpretrain.

    Raises:
        ConfigError: another scope.
    """
    if scope not in SCOPES:
        raise ConfigError(f"default_scope must be {' or '.join(SCOPES)}. Received: {scope!r}")
    import mmdet.utils
    import mmpretrain.utils

    import ctc_mm.datasets
    import ctc_mm.engine
    import ctc_mm.evaluation.metrics
    import ctc_mm.models  # noqa: F401

    mmdet.utils.register_all_modules(init_default_scope=False)
    mmpretrain.utils.register_all_modules(init_default_scope=False)
    init_default_scope(scope)


def load_config(
    path: str | Path, options: Mapping[str, Any] | None = None, work_dir: str | Path | None = None
) -> Config:
    """Read a config and merge the command line into it.

    Args:
        path: config file.
        options: ``--cfg-options``, dotted keys. ``data_root`` and ``classes`` reach every data set of the config,
            ``classes`` the heads' ``num_classes`` too, ``channels`` the data sets that have the config's channels, and
            ``train_cfg.max_epochs`` the cosine that was planned over all epochs.
        work_dir: where logs and weights go; default ``work_dirs/<config name>``.

    Raises:
        ConfigError: the file is missing or not a config, or an option names a key that the config does not have or
            one that only its file uses, so that the option would change nothing.
    """
    path, options = Path(path), dict(options or {})
    if not path.is_file():
        raise ConfigError(f"{path}: no such config. The project's configs are under configs/.")
    try:
        config = Config.fromfile(path)
    except Exception as error:
        raise ConfigError(f"{path}: cannot be read as a config ({type(error).__name__}: {error}).") from error
    for key in options:
        _require_effect(key, config, path)
    planned_epochs, channels = config.get("train_cfg", {}).get("max_epochs"), config.get("channels")
    config.merge_from_dict(options)
    if "data_root" in options:
        set_data_root(config, config.data_root)
    if "classes" in options:
        set_classes(config, config.classes)
    if "channels" in options:
        set_channels(config, channels)
    if "train_cfg.max_epochs" in options:
        stretch_schedule(config, planned_epochs)
    config.work_dir = str(work_dir or config.get("work_dir") or Path("work_dirs") / path.stem)
    return config


def _require_effect(key: str, config: Config, path: Path) -> None:
    name = key.split(".")[0]
    if name not in config:
        raise ConfigError(f"--cfg-options {key}: {path} has no `{name}`. It has: {sorted(config)}.")
    if name not in {*inspect.signature(Runner.__init__).parameters, *ALSO_READ}:
        raise ConfigError(
            f"--cfg-options {key}: `{name}` is a name that the config's file uses while it is read; changing it "
            "changes nothing afterwards. Change what is made of it, such as train_cfg.max_epochs."
        )


def set_data_root(config: Config, data_root: str) -> None:
    """Point every data set of ``config`` at ``data_root`` (a config's own variable is only copied when it is read)."""
    config.data_root = data_root
    for dataset in datasets_of(config):
        if "data_root" in dataset:
            dataset.data_root = data_root


def set_classes(config: Config, classes: Sequence[str]) -> None:
    """Give every data set of ``config`` these classes, and every head as many; the target stays, or is the first one.

    Raises:
        ConfigError: ``classes`` is no list of names.
    """
    if not isinstance(classes, list | tuple) or not classes or not all(isinstance(name, str) for name in classes):
        raise ConfigError(
            f"--cfg-options classes takes names in the order of the label file, as classes=\"('CTC', )\". "
            f"Received: {classes!r}"
        )
    config.classes = tuple(classes)
    for dataset in datasets_of(config):
        if "metainfo" in dataset:
            target = dataset.metainfo.get("target")
            dataset.metainfo = dict(dataset.metainfo, classes=config.classes)
            if target is not None and target not in classes:
                dataset.metainfo.target = classes[0]
    for head in _heads(config.model):
        head.num_classes = len(classes)


def set_channels(config: Config, before: str | Sequence[str] | None) -> None:
    """Give ``config.channels`` to every data set that had the channels ``before``, the config's own.

    Those that differ (trained on bright field and DAPI, tested on bright field) are set by their own keys.
    """
    for dataset in datasets_of(config):
        if "channels" in dataset and dataset.channels == before:
            dataset.channels = config.channels


def _heads(node: ConfigDict | list) -> Iterator[ConfigDict]:
    """Every head of a model config that says its number of classes, a teacher's and a student's too."""
    if isinstance(node, list | tuple):
        for value in node:
            yield from _heads(value)
    elif isinstance(node, ConfigDict):
        for key, value in node.items():
            if key.endswith("head") and isinstance(value, ConfigDict) and "num_classes" in value:
                yield value
            yield from _heads(value)


def datasets_of(config: Config, splits: Sequence[str] = ("train", "val", "test")) -> Iterator[ConfigDict]:
    """Every data set of a config, wrappers (``RepeatDataset``, ``ConcatDataset``) and what they wrap."""
    waiting = [(config.get(f"{split}_dataloader") or {}).get("dataset") for split in splits]
    while waiting:
        dataset = waiting.pop()
        if dataset is not None:
            yield dataset
            waiting += [dataset.get("dataset"), *dataset.get("datasets", ())]


def stretch_schedule(config: Config, planned_epochs: int) -> None:
    """Let schedules that were planned over ``planned_epochs`` end with ``train_cfg.max_epochs`` of ``config``."""
    for scheduler in config.get("param_scheduler") or []:
        if scheduler.get("T_max") == planned_epochs:
            scheduler.T_max = config.train_cfg.max_epochs
