"""Which room may import which: design.md, section 2."""

import ast
import graphlib
import importlib.metadata
import re
import subprocess
import sys

import pytest
from imported_names import (
    REPO,
    SCRIPT_FOLDERS,
    belongs_to,
    command_lines,
    imported_names,
    module_name,
    relative,
    source_files,
)

FRAMEWORKS = ("torch", "torchvision", "mmengine", "mmcv", "mmdet", "mmpretrain")

# From the ground up. A room imports from its own floor and those below, never from above.
FLOORS = (
    ("ctc_mm.errors",),
    ("ctc_mm.compat", "ctc_mm.cli", "ctc_mm.cpu", "ctc_mm.registry"),
    ("ctc_mm.structures", "ctc_mm.formats", "ctc_mm.imaging", "ctc_mm.imfish", "ctc_mm.phantoms"),
    ("ctc_mm.models", "ctc_mm.datasets", "ctc_mm.evaluation", "ctc_mm.explain"),
    ("ctc_mm.engine", "ctc_mm.counting", "ctc_mm.distributed"),
    ("ctc_mm.demo",),  # the whole chain
)
PURE = ("ctc_mm/structures.py", "ctc_mm/formats", "ctc_mm/imaging", "ctc_mm/imfish", "ctc_mm/phantoms")
PURE_FOLDERS = (*PURE[1:], "ctc_mm/evaluation/functional", "ctc_mm/counting/exchange", "data_converters")
# Statistics of a count, and what its files are written from.
PURE_PARTS = (
    "records",
    "palette",
    "statistics",
    "estimates",
    "concentration",
    "spike_in",
    "blanks",
    "correction",
    "sizes",
)
PURE_SINGLE = (PURE[0], "ctc_mm/evaluation/output.py", *(f"ctc_mm/counting/{name}.py" for name in PURE_PARTS))
PURE_FILES = [*source_files(*PURE_FOLDERS), *(REPO / name for name in PURE_SINGLE)]
# What pure files may take from ctc_mm: other pure files, and these, which import no framework either.
PURE_MODULES = (*(module_name(file) for file in PURE_FILES), "ctc_mm.errors", "ctc_mm.cli")

PACKAGE_FILES = source_files("ctc_mm")


def floor_of(name):
    """Number of the floor that a module of ctc_mm is on; None for the package itself."""
    floors = [number for number, rooms in enumerate(FLOORS) if belongs_to(name, rooms)]
    return floors[0] if floors else None


def test_every_room_has_a_floor():
    homeless = [relative(file) for file in PACKAGE_FILES if floor_of(module_name(file)) is None]
    assert homeless == ["ctc_mm/__init__.py"]


@pytest.mark.parametrize("file", PURE_FILES, ids=relative)
def test_pure_room_imports_no_framework(file):
    names = imported_names(file)
    assert [name for name in sorted(names) if belongs_to(name, FRAMEWORKS)] == []
    ours = [name for name in sorted(names) if name.startswith("ctc_mm.")]
    assert [name for name in ours if not belongs_to(name, PURE_MODULES) and floor_of(name) is not None] == []


def test_pure_rooms_run_without_a_framework():
    modules = [module_name(file) for file in PURE_FILES if file.parts[-2] != "data_converters"]
    code = "import importlib, sys\n" + "".join(f"importlib.import_module({name!r})\n" for name in modules)
    code += f"print([name for name in {FRAMEWORKS} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("file", PACKAGE_FILES, ids=relative)
def test_arrows_point_down(file):
    floor = floor_of(module_name(file))
    above = [name for name in imported_names(file) if floor is not None and (floor_of(name) or 0) > floor]
    assert sorted(above) == []


@pytest.mark.parametrize("file", PACKAGE_FILES, ids=relative)
def test_package_does_not_import_scripts_or_tests(file):
    assert [name for name in imported_names(file) if belongs_to(name, ("tools", "data_converters", "tests"))] == []


def test_no_module_imports_itself_by_way_of_others():
    modules = {module_name(file): file for file in PACKAGE_FILES}
    graph = {name: {other for other in imported_names(file) if other in modules} for name, file in modules.items()}
    for name in graph:
        # `from package import part` names the package too; its __init__ importing its parts is no circle.
        graph[name] -= {name, *(other for other in graph[name] if name.startswith(f"{other}."))}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("file", command_lines(), ids=relative)
def test_command_line_imports_ctc_mm_first_and_frameworks_late(file):
    names = imported_names(file, top_level_only=True)
    # A spawned worker runs the script's top again, and needs the stand-in for mmcv's ops before anything else.
    assert any(belongs_to(name, ("ctc_mm",)) for name in names)
    # Importing these takes seconds: not before the arguments are known to be right.
    assert [name for name in sorted(names) if belongs_to(name, FRAMEWORKS)] == []


def declared_distributions():
    """Names that setup.py requires, those of extras too: its strings that begin like a requirement."""
    tree = ast.parse((REPO / "setup.py").read_text(encoding="utf-8"))
    texts = [part.value for part in ast.walk(tree) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    matches = [re.match(r"([A-Za-z][\w.-]*)(?:\[.*\])?[=<>]", text) for text in texts]
    return {match[1].lower() for match in matches if match}


def test_every_imported_package_is_declared():
    # What comes along with another package today may not tomorrow.
    providers = importlib.metadata.packages_distributions()
    imported = {name.split(".")[0] for file in source_files("ctc_mm", *SCRIPT_FOLDERS) for name in imported_names(file)}
    beside = {file.stem for file in source_files(*SCRIPT_FOLDERS)}  # a script imports from its own folder
    foreign = imported - sys.stdlib_module_names - {"ctc_mm"} - beside
    declared = declared_distributions()
    assert {"torch", "onedl-mmcv", "opencv-python", "pytest"} <= declared
    # An optional package that is not installed here goes by its import name.
    undeclared = {name for name in foreign if not declared & {one.lower() for one in providers.get(name, (name,))}}
    assert sorted(undeclared) == []
