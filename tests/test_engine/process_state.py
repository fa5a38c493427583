"""What a tool changes in its process: the checkpoint policy and the registry scope."""

import os
from contextlib import contextmanager

from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader

from ctc_mm.engine.checkpoint import FORCE_PICKLE, FORCE_WEIGHTS_ONLY


@contextmanager
def process_state_kept():
    """Neither outlives the block."""
    scopes = dict(DefaultScope._instance_dict)
    schemes = dict(CheckpointLoader._schemes)
    variables = {name: os.environ.get(name) for name in (FORCE_WEIGHTS_ONLY, FORCE_PICKLE)}
    try:
        yield
    finally:
        for name in set(DefaultScope._instance_dict) - set(scopes):
            del DefaultScope._instance_dict[name]
        CheckpointLoader._schemes = schemes
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
