"""What every tool does first: register all parts, read the config, take the command line's changes in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ctc_mm.errors import ConfigError


def register_all_modules() -> None:
    """Import every module that registers something.

    MMEngine imports them by itself too, but swallows an ImportError there and then says only "not in registry".
    """
    import mmdet.utils

    import ctc_mm.datasets
    import ctc_mm.engine.hooks
    import ctc_mm.evaluation.metrics
    import ctc_mm.models  # noqa: F401

    mmdet.utils.register_all_modules(init_default_scope=True)


def load_config(
    path: str | Path, options: Mapping[str, Any] | None = None, work_dir: str | Path | None = None
) -> Config:
    """Read a config and merge the command line into it.

    Args:
        path: config file.
        options: ``--cfg-options``, dotted keys. ``data_root`` reaches every data set of the config, and
            ``train_cfg.max_epochs`` the cosine that was planned over all epochs.
        work_dir: where logs and weights go; default ``work_dirs/<config name>``.

    Raises:
        ConfigError: the file is missing or not a config, or an option names a key that the config does not have.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such config. The project's configs are under configs/.")
    try:
        config = Config.fromfile(path)
    except Exception as error:
        raise ConfigError(f"{path}: cannot be read as a config ({type(error).__name__}: {error}).") from error
    for key in options or {}:
        if key.split(".")[0] not in config:
            raise ConfigError(f"--cfg-options {key}: {path} has no `{key.split('.')[0]}`. It has: {sorted(config)}.")
    planned_epochs = config.get("train_cfg", {}).get("max_epochs")
    config.merge_from_dict(dict(options or {}))
    if "data_root" in (options or {}):
        set_data_root(config, config.data_root)
    if "train_cfg.max_epochs" in (options or {}):
        stretch_schedule(config, planned_epochs)
    config.work_dir = str(work_dir or config.get("work_dir") or Path("work_dirs") / path.stem)
    return config


def set_data_root(config: Config, data_root: str) -> None:
    """Point every data set of ``config`` at ``data_root`` (a config's own variable is only copied when it is read)."""
    config.data_root = data_root
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        dataset = (config.get(name) or {}).get("dataset")
        while dataset is not None:
            if "data_root" in dataset:
                dataset.data_root = data_root
            dataset = dataset.get("dataset")


def stretch_schedule(config: Config, planned_epochs: int) -> None:
    """Let schedules that were planned over ``planned_epochs`` end with ``train_cfg.max_epochs`` of ``config``."""
    for scheduler in config.get("param_scheduler") or []:
        if scheduler.get("T_max") == planned_epochs:
            scheduler.T_max = config.train_cfg.max_epochs
