"""A client of a Dask cluster: one that is there already, or processes of this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from dask.distributed import Client, LocalCluster

from ctc_mm.errors import SchedulerError

CONNECT_S = 20
FIRST_WORKER_S = 300
# Names of Dask's settings. The first is what it would set to 1 for all workers, however many cores they share.
THREADS_SETTING = "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS"
FAILURES_SETTING = "distributed.scheduler.allowed-failures"
# A worker that dies takes every task it was given along; each may be lost so often before it is looked at alone.
ALLOWED_FAILURES = 3


@contextmanager
def cluster_of(
    workers: int = 0, scheduler: str | None = None, first_worker_s: float = FIRST_WORKER_S
) -> Iterator[Client]:
    """Give a client; a cluster that was started for it ends with the block, one that was there goes on.

    Args:
        workers: processes to start on this machine, each with its share of the cores.
        scheduler: address of a running scheduler, such as ``tcp://node1:8786``, in the place of ``workers``.
        first_worker_s: how long to wait for a first worker, in seconds.

    Raises:
        SchedulerError: no scheduler at the address, or no worker has joined it in time.
    """
    if scheduler is not None:
        with _connected(scheduler) as client:
            _wait_for_worker(client, scheduler, first_worker_s)
            yield client
        return
    threads = max(1, _cores() // workers)
    settings = {THREADS_SETTING: os.environ.get("OMP_NUM_THREADS", threads), FAILURES_SETTING: ALLOWED_FAILURES}
    # A free port for the web page; and no limit of memory, which would stop workers that hold a model and a tile.
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            preload=["ctc_mm.distributed.preload"],
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _cores() -> int:
    """Cores that this process may use: of a container or a job often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    try:
        client = Client(scheduler, timeout=CONNECT_S)
    except (OSError, ValueError, TimeoutError) as error:
        raise SchedulerError(
            f"no Dask scheduler answers at {scheduler!r} ({error}); check the address that `dask scheduler` has printed"
        ) from error
    # The client's own words on a scheduler that goes are a page of traces; ``run_on_dask`` says it in a line.
    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with client:
            yield client
    finally:
        logger.setLevel(level)


def _wait_for_worker(client: Client, scheduler: str, seconds: float) -> None:
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError as error:
        raise SchedulerError(
            f"no worker has joined the scheduler at {scheduler} within {seconds:g} s; start some: "
            f"dask worker {scheduler}"
        ) from error
