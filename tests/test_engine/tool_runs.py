"""The two commands, run in the process of the test: their start takes longer than these trainings."""

import gc
import importlib.util
import multiprocessing
from pathlib import Path

from process_state import process_state_kept
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

TOOLS = Path(__file__).parents[2] / "tools"


def run_tool(name, *words):
    """Call ``main`` of tools/NAME.py with ``words``; what it sets for its process goes with it."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with process_state_kept():  # a module's fixture runs before the one that restores a test's
        module.main([str(word) for word in words])
    _end_loader_workers()


def _end_loader_workers():
    """End persistent workers: the garbage collector closes their queues first, and then waits 5 s for each of them."""
    if multiprocessing.active_children():
        for one in gc.get_objects():
            if isinstance(one, _MultiProcessingDataLoaderIter):
                one._shutdown_workers()


def train(config, work_dir, *words):
    """Train ``config`` and return ``work_dir``."""
    run_tool("train", config, "--work-dir", work_dir, *words)
    return work_dir


def test(config, checkpoint, out_dir, *words):
    """Test ``checkpoint`` and return ``out_dir``."""
    run_tool("test", config, checkpoint, "--out", out_dir, *words)
    return out_dir


test.__test__ = False  # pytest collects by name
