"""What runs on a worker: the functions of ``ctc_mm.counting.work``, with the route built once a process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from ctc_mm import __version__
from ctc_mm.counting.records import SlideSpec
from ctc_mm.counting.route import FirstPass, Route, RouteSpec
from ctc_mm.counting.routes import build_route
from ctc_mm.counting.work import Prepared, UnitResult, UnitTask, measure_units, prepare
from ctc_mm.cpu import tune_cpu
from ctc_mm.errors import SchedulerError

# A worker with several threads has one model all the same.
_measuring = threading.Lock()


def prepare_here(version: str, route: RouteSpec, spec: SlideSpec, first: FirstPass | None) -> Prepared:
    """Plan a slide and look over it once."""
    return prepare(_route(version, route), spec, first)


def measure_here(version: str, route: RouteSpec, tasks: Sequence[UnitTask]) -> list[UnitResult]:
    """Measure units of one or several slides."""
    built = _route(version, route)
    with _measuring:
        return list(measure_units(built, tasks))


def _route(version: str, spec: RouteSpec) -> Route:
    if version != __version__:
        raise SchedulerError(
            f"the worker on {socket.gethostname()} has ctc_mm {__version__}, the run {version}; install one version on "
            "all machines"
        )
    tune_cpu()  # before torch
    return build_route(spec)
