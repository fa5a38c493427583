"""Whether weights, config and images belong together, asked before a test gives figures that mean nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from ctc_mm.errors import CheckpointError, ConfigError

# Files without a table do not say what they show.
UNNAMED_CHANNELS = {None, "image"}
LARGEST_SCALE_RATIO = 1.1
DETECTOR, CLASSIFIER = "detector", "classifier"
KIND_OF_SCOPE = {"mmdet": DETECTOR, "mmpretrain": CLASSIFIER}


def kind_of_config(config: Config) -> str:
    """``detector`` or ``classifier``, by the library that the config is of.

    Raises:
        ConfigError: ``default_scope`` is neither mmdet nor mmpretrain.
    """
    scope = config.get("default_scope")
    if scope not in KIND_OF_SCOPE:
        raise ConfigError(
            f"default_scope must be 'mmdet' (detectors) or 'mmpretrain' (classifiers). Received: {scope!r}"
        )
    return KIND_OF_SCOPE[scope]


def check_checkpoint(checkpoint: Mapping[str, Any], config: Config, path: str | Path) -> None:
    """Refuse weights of another kind of model, or of other classes, than the config's.

    Raises:
        CheckpointError: they differ; the message names both.
    """
    weights = checkpoint.get("state_dict", checkpoint)
    wanted, found = kind_of_config(config), _kind_of_weights(weights)
    if found is not None and found != wanted:
        raise CheckpointError(
            f"{path}: holds the weights of a {found}, but the config is of a {wanted}; give the config that it was "
            "trained with"
        )
    check_classes(checkpoint, config, path)


def _kind_of_weights(names: Iterable[str]) -> str | None:
    """By the head's name, which MMDetection's single-stage detectors and MMPretrain's classifiers differ in."""
    heads = {name.removeprefix("module.").split(".")[0] for name in names}
    if {"bbox_head", "rpn_head", "roi_head"} & heads:
        return DETECTOR
    return CLASSIFIER if "head" in heads else None


def check_classes(checkpoint: Mapping[str, Any], config: Config, path: str | Path) -> None:
    """Refuse weights that were trained for other classes than the config names.

    Raises:
        CheckpointError: the classes differ.
        ConfigError: the config has no test images, as those of ``_base_`` that are parts of others.
    """
    if config.get("test_dataloader") is None:
        raise ConfigError(
            f"{config.filename or 'the config'}: no `test_dataloader`, so it does not say what the model sees; give "
            "the whole config that the weights were trained with"
        )
    trained = trained_on(checkpoint).get("classes")
    wanted = config.test_dataloader.dataset.get("metainfo", {}).get("classes")
    if trained and wanted and list(trained) != list(wanted):
        raise CheckpointError(
            f"{path}: trained for the classes {list(trained)}, but the config's test set has {list(wanted)}; "
            "give the config that it was trained with."
        )


def check_images(trained: Mapping[str, Any], test: Mapping[str, Any], path: str | Path, allow: bool = False) -> None:
    """Refuse images of another channel or pixel size than the model was trained on.

    A model trained on several channels may be tested on some of them (DEPArray: trained on bright field and DAPI,
    tested on bright field); stacked ones (``dapi+cep8``) are one input and have to be the same.

    Args:
        trained: ``metainfo`` of the training set: ``channel`` (a name or a list of them), ``um_per_px``; what is
            missing is not compared.
        test: ``metainfo`` of the test set.
        path: of the weights, for the message.
        allow: warn instead.

    Raises:
        CheckpointError: they differ, the pixel sizes by more than 10 %.
    """
    problems = []
    known, shown = _names(trained.get("channel")), _names(test.get("channel"))
    if known and shown and not shown <= known:
        problems.append(f"trained on channel {_joined(known)}, but the test set shows {_joined(shown)}")
    scales = [one.get("um_per_px") for one in (trained, test)]
    if all(scales) and max(scales) > LARGEST_SCALE_RATIO * min(scales):
        problems.append(
            f"trained at {scales[0]:g} um per px, but the test set has {scales[1]:g}: cells appear "
            f"{scales[0] / scales[1]:.2g} times as large to the model"
        )
    for problem in problems:
        if not allow:
            raise CheckpointError(
                f"{path}: {problem}; give images as in training, or test all the same with --other-images"
            )
        print_log(f"{path}: {problem}; tested all the same.", logger="current", level=30)


def trained_on(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a checkpoint remembers of its training set (``metainfo``); empty where it was made elsewhere."""
    return (checkpoint.get("meta") or {}).get("dataset_meta") or {}


def _names(channel: Any) -> set[str]:
    names = {channel} if isinstance(channel, str) or channel is None else set(channel)
    return set() if names & UNNAMED_CHANNELS else names


def _joined(names: set[str]) -> str:
    return " and ".join(sorted(names))
