"""What a source file imports, read from its syntax tree: lazy imports inside functions count too."""

import ast
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
SCRIPT_FOLDERS = ("tools", "data_converters", "benchmarks")


def source_files(*folders):
    """Python files in these folders of the project, sorted; a folder that is not there yet has none."""
    return sorted(file for folder in folders for file in (REPO / folder).rglob("*.py"))


def relative(file):
    """The path as shown in messages and test ids."""
    return file.relative_to(REPO).as_posix()


def module_name(file):
    """Dotted name: ctc_mm/imaging/__init__.py -> ctc_mm.imaging."""
    return ".".join(file.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")


def is_command_line(file):
    """True for scripts that can be run."""
    return 'if __name__ == "__main__":' in file.read_text(encoding="utf-8")


def command_lines():
    """The project's scripts that can be run, sorted."""
    return [file for file in source_files(*SCRIPT_FOLDERS) if is_command_line(file)]


def imported_names(file, top_level_only=False):
    """Dotted names that the file imports; ``from a import b`` gives both ``a`` and ``a.b``."""
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    names = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(file, node)
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    return names


def _absolute(file, node):
    if node.level == 0:
        return node.module
    package = file.parent
    for _ in range(node.level - 1):
        package = package.parent
    return ".".join([*package.relative_to(REPO).parts, *([node.module] if node.module else [])])


def belongs_to(name, packages):
    """Whether a dotted name is one of the packages or lies inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)
