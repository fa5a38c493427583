"""How much memory this process has in use, and has had at most."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MIB = 2**20
KERNEL_STATUS, KERNEL_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux


def resident_mib() -> float:
    """Memory that this process has in use now, in MiB; where the kernel does not say, the most so far."""
    return _kernel_mib("VmRSS") if KERNEL_STATUS.exists() else peak_mib()


def peak_mib() -> float:
    """Most memory that this process has had in use, in MiB; NaN on Windows, which does not tell."""
    if KERNEL_STATUS.exists():
        # Not getrusage: there, a process inherits the peak of the one that started it.
        return _kernel_mib("VmHWM")
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def _kernel_mib(field: str) -> float:
    return int(re.search(rf"^{field}:\s+(\d+) kB", KERNEL_STATUS.read_text(), re.MULTILINE)[1]) / 1024


def peak_memory_mib(device: torch.device) -> float:
    """Peak in MiB: of this process on a CPU, of what torch has allocated on a GPU."""
    import torch

    return torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else peak_mib()


def reset_peak_memory(device: torch.device) -> None:
    """Let the peak begin anew from what is in use now; where the system does not offer that, it goes on.

    What the program has freed, and the allocator keeps (``tune_cpu``), is given back first.
    """
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif os.access(KERNEL_RESET, os.W_OK):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
        KERNEL_RESET.write_text("5")
