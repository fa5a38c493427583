"""A stand-in for ``mmcv._ext``, used when, and only when, mmcv came without compiled ops."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

from ctc_mm.errors import MissingOpError

EXT_NAME = "mmcv._ext"


def _missing_op(name: str) -> Any:
    def op(*args: Any, **kwargs: Any) -> None:
        raise MissingOpError(f"the compiled op `{name}` is not in this mmcv and ctc_mm has no stand-in for it.")

    op.__name__ = name
    return op


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        from ctc_mm.compat import ops

        return getattr(ops, name, None) or _missing_op(name)


class MMCVExtFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers for ``mmcv._ext``."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Return a spec for ``mmcv._ext``, None for all else."""
        if fullname != EXT_NAME:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin="ctc_mm.compat.mmcv_ext")

    def create_module(self, spec: Any) -> ModuleType:
        """Make the stand-in module."""
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: attributes resolve on first use."""


def install_stand_in() -> None:
    """Put the finder last on ``sys.meta_path``, once."""
    if not any(isinstance(finder, MMCVExtFinder) for finder in sys.meta_path):
        sys.meta_path.append(MMCVExtFinder())
