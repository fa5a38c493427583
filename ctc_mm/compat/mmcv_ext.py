"""A stand-in for ``mmcv._ext``, used when, and only when, mmcv came without compiled ops.

A plain ``pip install onedl-mmcv`` has no ``mmcv._ext``, and MMDetection imports ``mmcv.ops`` at start-up, which fails
without it. A finder in front of ``sys.meta_path`` is asked for that one name and decides by the files beside mmcv:

- nothing there: the stand-in, whose ops come from ``ctc_mm.compat.ops``;
- a compiled file of this Python: that file, untouched; if it does not load, an ``InstallationError`` says why;
- a compiled file of another Python or platform only: an ``InstallationError`` when it is imported.

It looks at import time of ``mmcv._ext``, so ``import ctc_mm`` itself imports neither mmcv nor torch, but has to come
before ``mmcv.ops``. A spawned process (DataLoader workers on Windows and macOS) imports the main script again: with
``import ctc_mm`` at the top of that script, or with an object of ctc_mm to unpickle, workers see the same ops.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from ctc_mm.compat.cures import HOW_TO_BUILD_OPS, reinstall
from ctc_mm.errors import InstallationError, MissingOpError

EXT_NAME = "mmcv._ext"
# Of any platform: EXTENSION_SUFFIXES knows only the running one.
COMPILED_SUFFIXES = frozenset({".so", ".pyd"})


def _missing_op(name: str) -> Any:
    def op(*args: Any, **kwargs: Any) -> NoReturn:
        raise MissingOpError(
            f"mmcv's compiled op `{name}` is not installed, and ctc_mm has no stand-in for it. {HOW_TO_BUILD_OPS}"
        )

    # Pickled and shown as what it stands for.
    op.__module__, op.__name__, op.__qualname__ = EXT_NAME, name, name
    return op


class StandIn(ModuleType):
    """The module ``mmcv._ext`` without compiled code: served ops work, all others raise at their call.

    Every public name is there, because ``mmcv.ops`` checks with ``hasattr`` for about 100 ops when it is imported.
    """

    def __getattr__(self, name: str) -> Any:
        """Find an op when it is first asked for, and keep it."""
        if name.startswith("_"):
            raise AttributeError(f"module {EXT_NAME!r} (ctc_mm's stand-in) has no attribute {name!r}")
        from ctc_mm.compat import ops  # torch: not before someone wants an op

        op = getattr(ops, name) if name in ops.__all__ else _missing_op(name)
        setattr(self, name, op)
        return op

    def __dir__(self) -> list[str]:
        """List the module's own names and the served ops."""
        from ctc_mm.compat import ops

        return sorted({*super().__dir__(), *ops.__all__})


class StandInLoader(importlib.abc.Loader):
    """Makes the stand-in."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make the module, empty: its attributes are found on first use."""
        return StandIn(spec.name, doc=f"{StandIn.__doc__}")

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing: there is no code."""


class GuardedExtensionLoader(ExtensionFileLoader):
    """Loads a compiled ``mmcv._ext`` as Python does, and explains a failure."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Load the file.

        Raises:
            InstallationError: naming the file, the linker's reason and the cure.
        """
        try:
            return super().create_module(spec)
        except ImportError as error:
            raise InstallationError(_unloadable(self.path, str(error))) from error


class ForeignExtensionLoader(importlib.abc.Loader):
    """Stands for compiled files that this Python cannot load at all."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def exec_module(self, module: ModuleType) -> NoReturn:
        """Refuse.

        Raises:
            InstallationError: naming the files, what this Python loads instead, and the cure.
        """
        expected = f"_ext{importlib.machinery.EXTENSION_SUFFIXES[0]}"
        reason = f"built for another Python or platform (this one loads {expected})"
        raise InstallationError(_unloadable(", ".join(map(str, self.files)), reason))


def _unloadable(files: str, reason: str) -> str:
    return (
        f"mmcv's compiled ops are installed but cannot be loaded: {files}: {reason}. "
        f"To go without them (ctc_mm then takes the ops it needs from torchvision): "
        f"{reinstall(['onedl-mmcv'], ['onedl-mmcv'])} (if the file is still there afterwards, delete it). "
        f"{HOW_TO_BUILD_OPS}"
    )


def compiled_files(folders: Iterable[str | Path]) -> list[Path]:
    """Return the compiled ``_ext`` files in mmcv's folders, of whatever Python and platform, sorted."""
    return sorted(
        file
        for folder in folders
        for file in Path(folder).glob("_ext.*")
        if file.suffix in COMPILED_SUFFIXES and file.is_file()
    )


class MMCVExtFinder(importlib.abc.MetaPathFinder):
    """Answers for ``mmcv._ext`` and nothing else."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of the real module if there is one, otherwise the stand-in's.

        Args:
            fullname: dotted name of the module that is being imported.
            path: ``mmcv.__path__``.
            target: unused (module being reloaded).
        """
        if fullname != EXT_NAME:
            return None
        spec = self._find_real(fullname, path, target)
        if spec is not None:
            if type(spec.loader) is ExtensionFileLoader:
                spec.loader = GuardedExtensionLoader(spec.loader.name, spec.loader.path)
            return spec
        files = compiled_files(path or [])
        if files:
            return ModuleSpec(fullname, ForeignExtensionLoader(files), origin=str(files[0]))
        return ModuleSpec(fullname, StandInLoader(), origin="ctc_mm.compat.mmcv_ext")

    def _find_real(self, fullname: str, path: Sequence[str] | None, target: Any) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                return spec
        return None


def install_stand_in() -> None:
    """Put the finder first on ``sys.meta_path``, once."""
    if not any(isinstance(finder, MMCVExtFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MMCVExtFinder())
