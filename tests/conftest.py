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
def _registry_scope_kept() -> Iterator[None]:
    """A scope that a Runner or a tool has chosen ends with the block; the names of later tests are looked up anew."""
    before = set(_scopes())
    yield
    for name in set(_scopes()) - before:
        del _scopes()[name]


def _scopes() -> dict:
    registry = sys.modules.get("mmengine.registry")  # not imported for tests that need none of it
    return {} if registry is None else registry.DefaultScope._instance_dict


@pytest.fixture(autouse=True, scope="module")
def registry_scope_of_the_module():
    with _registry_scope_kept():
        yield


@pytest.fixture(autouse=True)
def registry_scope_of_the_test():
    with _registry_scope_kept():
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
