"""What every test shares: ctc_mm before mmcv, quiet and single-threaded torch, the real images where they are."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ctc_mm  # noqa: F401  # has to come before mmcv.ops

REPO = Path(__file__).resolve().parents[1]
LOADING_VARIABLES = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images: ``CTC_MM_DATA`` or ``../shared/data`` beside the project."""
    path = Path(os.environ.get("CTC_MM_DATA", REPO.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real images not found at {path}; set CTC_MM_DATA to their folder")
    return path


@contextmanager
def _process_kept() -> Iterator[None]:
    """A registry scope, and how checkpoints are loaded, that a Runner or a tool has chosen end with the block."""
    scopes, schemes = set(_scopes()), dict(_loading_schemes())
    variables = {name: os.environ.get(name) for name in LOADING_VARIABLES}
    yield
    for name in set(_scopes()) - scopes:
        del _scopes()[name]
    if schemes:
        _loading_schemes().update(schemes)
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def _scopes() -> dict:
    registry = sys.modules.get("mmengine.registry")  # not imported for tests that need none of it
    return {} if registry is None else registry.DefaultScope._instance_dict


def _loading_schemes() -> dict:
    checkpoint = sys.modules.get("mmengine.runner.checkpoint")
    return {} if checkpoint is None else checkpoint.CheckpointLoader._schemes


@pytest.fixture(autouse=True, scope="module")
def process_of_the_module():
    with _process_kept():
        yield


@pytest.fixture(autouse=True)
def process_of_the_test():
    with _process_kept():
        yield


@pytest.fixture
def ctrl_c():
    """Ctrl-C is heard by this process and those it starts; a shell lets what it puts into the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def mmpretrain_scope():
    """Names without a scope are MMPretrain's, whatever scope an earlier test has left behind."""
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield
