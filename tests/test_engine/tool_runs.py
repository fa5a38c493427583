"""The two commands, run in the process of the test: their start takes longer than these trainings."""

import importlib.util
from pathlib import Path

from process_state import process_state_kept

TOOLS = Path(__file__).parents[2] / "tools"


def run_tool(name, *words):
    """Call ``main`` of tools/NAME.py with ``words``; what it sets for its process goes with it."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with process_state_kept():  # a module's fixture runs before the one that restores a test's
        module.main([str(word) for word in words])


def train(config, work_dir, *words):
    """Train ``config`` and return ``work_dir``."""
    run_tool("train", config, "--work-dir", work_dir, *words)
    return work_dir


def test(config, checkpoint, out_dir, *words):
    """Test ``checkpoint`` and return ``out_dir``."""
    run_tool("test", config, checkpoint, "--out", out_dir, *words)
    return out_dir


test.__test__ = False  # pytest collects by name
