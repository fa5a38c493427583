"""Neither the checkpoint policy of a test nor the registry scope of its Runner reaches the next test."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # tiny_training, also in spawned processes

from process_state import process_state_kept  # noqa: E402


@pytest.fixture(autouse=True)
def process_state_restored(tmp_path):
    hub = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    with process_state_kept():
        yield
    torch.hub.set_dir(hub)
