"""The routes by name; a process builds each but once, so that a model is loaded once a worker."""

from __future__ import annotations

import importlib
import json
import threading

from ctc_mm.counting.route import Route, RouteSpec
from ctc_mm.errors import ConfigError

# Imported when they are asked for: the detector's brings torch along, the rule's needs none.
ROUTES = {
    "detect": "ctc_mm.counting.detect:DetectRoute",
    "classify": "ctc_mm.counting.classify:ClassifyRoute",
    "imfish": "ctc_mm.counting.imfish:ImFISHRoute",
}

_built: dict[str, Route] = {}
_building = threading.Lock()


def build_route(spec: RouteSpec) -> Route:
    """Build a route, or give the one that this process has built of the same settings.

    Args:
        spec: its name, one of ``ROUTES`` or ``package.module:Class`` for a route of your own, and its settings.

    Raises:
        ConfigError: no such route.
        ValueError: settings that it does not take; see the route.
    """
    key = json.dumps([spec.name, spec.settings], sort_keys=True)
    with _building:
        if key not in _built:
            # Another model may not fit beside the old one; a run has one route.
            _built.clear()
            _built[key] = _route_class(spec.name)(dict(spec.settings))
        return _built[key]


def check_name(name: str) -> str:
    """Give the name of a route back if it can be one.

    Raises:
        ConfigError: it cannot.
    """
    if name not in ROUTES and ":" not in name:
        raise ConfigError(
            f"a route must be one of {', '.join(ROUTES)}, or package.module:Class for your own. Received: {name!r}"
        )
    return name


def _route_class(name: str) -> type:
    module, _, class_name = ROUTES.get(check_name(name), name).partition(":")
    try:
        return getattr(importlib.import_module(module), class_name)
    except (ModuleNotFoundError, AttributeError) as error:
        if name in ROUTES:
            raise
        raise ConfigError(f"`route` {name!r} cannot be imported ({error}); check PYTHONPATH and spelling") from error
