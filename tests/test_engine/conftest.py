"""Neither the checkpoint policy of a test nor the registry scope of its Runner reaches the next test."""

import os
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader

from ctc_mm.engine.checkpoint import FORCE_PICKLE, FORCE_WEIGHTS_ONLY

sys.path.insert(0, str(Path(__file__).parent))  # tiny_training, also in spawned processes


@pytest.fixture(autouse=True)
def process_state_restored(tmp_path):
    scopes = dict(DefaultScope._instance_dict)
    schemes, hub = dict(CheckpointLoader._schemes), torch.hub.get_dir()
    variables = {name: os.environ.get(name) for name in (FORCE_WEIGHTS_ONLY, FORCE_PICKLE)}
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield
    for name in set(DefaultScope._instance_dict) - set(scopes):
        del DefaultScope._instance_dict[name]
    CheckpointLoader._schemes = schemes
    torch.hub.set_dir(hub)
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
