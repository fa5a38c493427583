"""What runs on a worker: the functions of ``ctc_mm.counting.work``, with the route built once a process."""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dask.distributed import get_worker

from ctc_mm.counting.count_card import software_versions
from ctc_mm.counting.records import SlideSpec
from ctc_mm.counting.route import FirstPass, Route, RouteSpec
from ctc_mm.counting.routes import build_route
from ctc_mm.counting.work import Prepared, UnitResult, UnitTask, describe, measure_units, prepare
from ctc_mm.cpu import tune_cpu
from ctc_mm.errors import SchedulerError

# A worker with several threads has one model all the same.
_measuring = threading.Lock()


Versions = Mapping[str, str]


@dataclass(frozen=True)
class Refused:
    """Given in the place of a result by a worker that cannot work on a slide for reasons of its own.

    Attributes:
        worker: its address.
        reason: in words.
    """

    worker: str
    reason: str


def prepare_here(versions: Versions, route: RouteSpec, spec: SlideSpec, first: FirstPass | None) -> Prepared | Refused:
    """Plan a slide and look over it once."""
    built = _route(versions, route, [spec])
    return built if isinstance(built, Refused) else prepare(built, spec, first)


def measure_here(versions: Versions, route: RouteSpec, tasks: Sequence[UnitTask]) -> list[UnitResult] | Refused:
    """Measure units of one or several slides."""
    built = _route(versions, route, [task.plan.spec for task in tasks])
    if isinstance(built, Refused):
        return built
    with _measuring:
        return list(measure_units(built, tasks))


@functools.cache
def versions_here() -> Versions:
    """What is installed of all that decides numbers; ``+cpu`` and the like say for which device, and are left out."""
    found = software_versions(with_model=True)
    return {name: version.partition("+")[0] for name, version in found.items() if name != "python"}


def _route(versions: Versions, route: RouteSpec, specs: Sequence[SlideSpec]) -> Route | Refused:
    """Build the route, or say why this worker must not or cannot."""
    try:
        _check_versions(versions)
        _check_files(specs)
        tune_cpu()  # before torch
        return build_route(route)
    except Exception as error:  # another worker may do better
        return Refused(get_worker().address, describe(error))


def _check_versions(versions: Versions) -> None:
    here = versions_here()
    other = [
        f"{name} {here[name]} (the run: {versions[name]})"
        for name in sorted(here.keys() & versions.keys())
        if here[name] != versions[name]
    ]
    if other:
        raise SchedulerError(
            f"the worker on {socket.gethostname()} has {', '.join(other)}; install one version on all machines"
        )


def _check_files(specs: Sequence[SlideSpec]) -> None:
    missing = next((path for spec in specs for path in spec.source.paths.values() if not path.exists()), None)
    if missing is not None:
        raise SchedulerError(
            f"the worker on {socket.gethostname()} does not see {missing}; mount the folder there by the same path"
        )
