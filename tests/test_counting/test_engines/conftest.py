"""Small models with random weights, as a training leaves them: a config and a checkpoint that remembers its images."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test_engine"))

from process_state import process_state_kept  # noqa: E402
from tiny_engines import write_classifier, write_detector  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def engines_process_state():
    with process_state_kept():
        yield


@pytest.fixture(scope="module")
def detector_files(tmp_path_factory):
    """Settings of an SSD with attention whose windows of 48 px become 64."""
    return write_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def classifier_files(tmp_path_factory):
    """Settings of a ResNet that resizes cells to 24 px."""
    return write_classifier(tmp_path_factory.mktemp("classifier"))
