"""Settings that make training on a CPU faster and keep it steady beside other programs; no torch here."""

from __future__ import annotations

import ctypes
import os
import sys

# mallopt's parameters, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
KEPT_BYTES = 2**31 - 1
TOP_PAD_BYTES = 64 * 2**20


def tune_cpu() -> bool:
    """Set up this process for large tensors; call it before torch is imported.

    Threads that wait for each other sleep instead of spinning: spinning ones take the core from the thread they wait
    for as soon as anything else runs (one trial of the light model on two busy cores: 12.3 s a step spinning, 2.6 s
    sleeping). And freed memory is kept for the next tensor: glibc gives large blocks back to the system at once (one
    thread, same trial: 3.1 s a step, 2.5 s with blocks kept). All threads share that memory: left alone, glibc gives
    each its own, too small for large blocks (a light detector in a thread of its own: a quarter slower). Variables that
    the user has set win.

    Returns:
        Whether the allocator was set, which only glibc offers.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, KEPT_BYTES), (M_TOP_PAD, TOP_PAD_BYTES), (M_ARENA_MAX, 1))
    return sum(mallopt(parameter, value) for parameter, value in settings) == len(settings)  # 1 each where it took
