import os
import subprocess
import sys

import pytest

from ctc_mm.cpu import tune_cpu


def test_users_variables_win(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert tune_cpu() is False
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
@pytest.mark.parametrize("run", ["touch()", "thread = threading.Thread(target=touch); thread.start(); thread.join()"])
def test_freed_blocks_stay_with_the_process(run):
    """Page faults of touching the same large block again and again: with the setting, the first time only."""
    program = (
        "import resource, sys, threading\n"
        "from ctc_mm.cpu import tune_cpu\n"
        "if sys.argv[1] == 'on' and not tune_cpu(): sys.exit('no mallopt')\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "block = bytearray(40_000_000); del block\n"
        "before = faults()\n"
        "def touch():\n"
        "    for _ in range(10):\n"
        "        block = bytearray(40_000_000); block[::4096] = b'x' * len(block[::4096]); del block\n"
        f"{run}\n"
        "print(faults() - before)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    off, on = (
        subprocess.run([sys.executable, "-c", program, mode], capture_output=True, text=True, env=environment)
        for mode in ("off", "on")
    )
    if on.returncode:
        pytest.skip("this C library has no mallopt")
    assert int(off.stdout) > 10_000
    assert int(on.stdout) < int(off.stdout) / 5
