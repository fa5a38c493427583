"""What a worker process of this machine does first; Dask calls ``dask_setup`` in its main thread."""

from __future__ import annotations

import signal

from ctc_mm.cpu import tune_cpu


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C to the process that started the run, which then ends its workers; and set the process up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tune_cpu()  # before torch
