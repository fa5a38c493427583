"""Names that would shadow others, and registered parts that a swallowed ImportError would hide."""

import ast
import importlib
import importlib.metadata
import json
import subprocess
import sys

import pytest
from imported_names import REPO, SCRIPT_FOLDERS, module_name, relative, source_files

PACKAGE_FILES = source_files("ctc_mm")


@pytest.mark.parametrize("file", source_files(*SCRIPT_FOLDERS), ids=relative)
def test_script_does_not_shadow_a_package(file):
    # A script's folder is first on sys.path: tools/inspect.py would be what everyone gets for `import inspect`.
    assert file.stem not in sys.stdlib_module_names
    assert file.stem not in importlib.metadata.packages_distributions()


@pytest.mark.parametrize("file", PACKAGE_FILES, ids=relative)
def test_module_can_be_imported(file):
    assert importlib.import_module(module_name(file)).__name__ == module_name(file)


def registered_in_source():
    """(registry, class) of every ``@REGISTRY.register_module()`` in the package."""
    pairs = []
    for file in PACKAGE_FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for decorator in getattr(node, "decorator_list", []):
                call = decorator.func if isinstance(decorator, ast.Call) else None
                if isinstance(call, ast.Attribute) and call.attr == "register_module":
                    pairs.append((ast.unparse(call.value), node.name))
    return sorted(pairs)


def test_registries_find_every_part_by_themselves():
    # As in a run of MMEngine: nothing imported by hand. A part whose __init__ line is missing, or whose import fails
    # (MMEngine only warns), is absent.
    code = """
import json
from ctc_mm import registry
found = []
for name, value in sorted(vars(registry).items()):
    if isinstance(value, registry.Registry) and value.scope == "ctc_mm":
        value.import_from_location()
        found += [(name, part) for part in value.module_dict]
print(json.dumps(sorted(found)))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = [tuple(pair) for pair in json.loads(result.stdout.splitlines()[-1])]
    assert found == registered_in_source()
    assert found != []


def test_test_files_have_names_of_their_own():
    names = [file.name for file in source_files("tests")]
    assert sorted({name for name in names if names.count(name) > 1 and name != "conftest.py"}) == []
    assert [relative(file) for file in source_files("tests") if file.name == "__init__.py"] == []
