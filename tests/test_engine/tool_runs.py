"""The two commands, run in the process of the test: their start takes longer than these trainings."""

import importlib.util
from pathlib import Path

TOOLS = Path(__file__).parents[2] / "tools"


def run_tool(name, *words):
    """Call ``main`` of tools/NAME.py with ``words``."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
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
