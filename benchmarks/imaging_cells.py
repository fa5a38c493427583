"""The bright-field part of ``imaging.py``: cells on phantoms by the default method and by the paper's recipe."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from common import markdown_table

from ctc_mm.cli import progress
from ctc_mm.evaluation.functional.instances import InstanceMatches, match_instances, summarise_instances
from ctc_mm.imaging.cells import measure_cells, segment_cells
from ctc_mm.phantoms import BrightfieldPhantomConfig, generate_field

# The methods were set on seeds below 1000.
FIRST_SEED = 7000
IOU_THR = 0.5
METHODS = ("paper", "robust")


def phantom_kinds() -> dict[str, BrightfieldPhantomConfig]:
    """Configs that the methods are tried on, by name; every field has cells."""
    ordinary = BrightfieldPhantomConfig(blank_fraction=0.0)
    return {
        "ordinary": ordinary,
        "no size cue": ordinary.hard(),
        "crowded": replace(ordinary, ctc_count=(10, 20), wbc_count=(60, 90), touching_fraction=0.6),
        "dim, uneven": replace(ordinary, exposure=(0.12, 0.2), unevenness=0.7),
    }


def benchmark_cells(fields: int = 16) -> dict[str, Any]:
    """Score and time both methods on the same fields.

    Returns:
        By kind of phantom and method: F1 at IoU 0.5 of all objects and precision of the unflagged ones, the share of
        true cells that no object lies on, MP/s; and by method the objects on ten blank fields.
    """
    kinds = {name: _score(config, fields, name) for name, config in phantom_kinds().items()}
    blank = replace(BrightfieldPhantomConfig(), blank_fraction=1.0)
    return {"fields": fields, "kinds": kinds, "objects_per_blank_field": _count_on_blanks(blank)}


def _score(config: BrightfieldPhantomConfig, fields: int, name: str) -> dict[str, Any]:
    matches: dict[str, list[InstanceMatches]] = {method: [] for method in METHODS}
    good: dict[str, list[InstanceMatches]] = {method: [] for method in METHODS}
    missed, seconds, pixels, cells = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0.0), 0, 0
    for seed in progress(range(FIRST_SEED, FIRST_SEED + fields), f"cells, {name}"):
        field = generate_field(config, np.random.default_rng(seed))
        pixels, cells = pixels + field.image.size, cells + len(field.labels)
        for method in METHODS:
            start = time.perf_counter()
            labels = segment_cells(field.image, method, um_per_px=field.um_per_px)
            seconds[method] += time.perf_counter() - start
            matches[method].append(match_instances(labels, field.instances, IOU_THR))
            flagged = [bool(one.reasons) for one in measure_cells(labels, field.image, field.um_per_px)]
            kept = np.where(np.array([True, *flagged])[labels], 0, labels)
            good[method].append(match_instances(kept, field.instances, IOU_THR))
            missed[method] += len(field.labels) - len(np.setdiff1d(np.unique(field.instances[labels > 0]), 0))
    return {
        method: {
            "f1": round(summarise_instances(matches[method]).counts.f1, 4),
            "precision_unflagged": round(summarise_instances(good[method]).counts.precision, 4),
            "recall_unflagged": round(summarise_instances(good[method]).counts.recall, 4),
            "cells": cells,
            "cells_without_object": missed[method],
            "mp_per_s": round(pixels / 1e6 / seconds[method], 2),
        }
        for method in METHODS
    }


def _count_on_blanks(config: BrightfieldPhantomConfig, fields: int = 10) -> dict[str, float]:
    images = [generate_field(config, np.random.default_rng(FIRST_SEED + index), blank=True) for index in range(fields)]
    return {
        method: float(np.mean([segment_cells(one.image, method, um_per_px=one.um_per_px).max() for one in images]))
        for method in METHODS
    }


def cells_markdown(result: dict[str, Any]) -> str:
    """What ``benchmark_cells`` found, as Markdown."""
    rows = [
        (
            kind,
            method,
            f"{one['f1']:.3f}",
            f"{one['precision_unflagged']:.3f} / {one['recall_unflagged']:.3f}",
            f"{one['cells_without_object']} of {one['cells']}",
            f"{one['mp_per_s']:.1f}",
        )
        for kind, methods in result["kinds"].items()
        for method, one in methods.items()
    ]
    headers = ("phantom", "method", "F1, all", "precision / recall, unflagged", "cells that nothing lies on", "MP/s")
    blanks = ", ".join(f"{method} {count:.1f}" for method, count in result["objects_per_blank_field"].items())
    return f"{markdown_table(headers, rows)}\n\nObjects per blank field: {blanks}."
