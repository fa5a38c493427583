import subprocess
import sys

import pytest

SIGNAL_AFTER_THE_LAST_MODEL = """
import faulthandler, gc, signal, subprocess, sys, threading
from pathlib import Path
faulthandler.enable()  # a stack for signals, as pytest and servers set it up
import numpy as np, openvino
from openvino import opset13 as ops
import ctc_mm
from ctc_mm.counting.engines.base import EngineSettings
from ctc_mm.counting.engines.sessions import OpenVINOSession

images = ops.parameter([1, 3, 4, 4], np.float32, name="images")
path = Path(sys.argv[1])
openvino.save_model(openvino.Model([ops.relu(images)], [images]), path)
held = [OpenVINOSession(path, EngineSettings(model=str(path), batch_size=1, threads=1))]
thread = threading.Thread(target=lambda: (held.clear(), gc.collect()))
thread.start()
thread.join()
signal.signal(signal.SIGCHLD, lambda number, frame: None)  # as torch's loaders do
subprocess.run([sys.executable, "-c", ""], check=True)
print("alive")
"""


def test_a_signal_is_survived_after_the_last_model_went_in_another_thread(tmp_path):
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", SIGNAL_AFTER_THE_LAST_MODEL, str(tmp_path / "model.xml")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout.split()[-1:]) == (0, ["alive"]), result.stderr
