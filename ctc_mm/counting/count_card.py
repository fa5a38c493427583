"""The count card: everything a count rests on, as one JSON file a slide; same count, same bytes."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm import __version__
from ctc_mm.counting.concentration import per_ml
from ctc_mm.counting.estimates import CONFIDENCE, count_estimate
from ctc_mm.counting.performance import Performance
from ctc_mm.counting.records import UNIDENTIFIED, Drop, SlideCount
from ctc_mm.counting.sizes import size_distribution
from ctc_mm.counting.spike_in import Recovery
from ctc_mm.errors import SlideError
from ctc_mm.formats.fields import load_json_object
from ctc_mm.formats.files import write_json

SCHEMA, SCHEMA_VERSION = "ctc_mm.count_card", 1
# What can change a result; named in the card where it is installed.
PACKAGES = ("numpy", "scipy", "opencv-python", "tifffile", "imagecodecs", "zarr")
MODEL_PACKAGES = (
    "torch", "torchvision", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmpretrain", "onnxruntime",
    "openvino",
)  # fmt: skip
NEEDED = ("slide", "counts", "ctc", "area")


def make_card(
    count: SlideCount,
    *,
    recovery: Recovery | None = None,
    performance: Performance | None = None,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """Put together the card of a slide.

    Args:
        count: the result.
        recovery: share of added cells that is found, from spike-ins or given; with it CTCs per mL are corrected.
        performance: of the model on cells of known truth; with it the card has a corrected count.
        confidence: of all intervals.

    Returns:
        JSON values; docs/guides/exchange.md explains each. The main ones: ``ctc`` (count, interval,
        ``if_unidentified_were_ctc``, ``on_whole_slide``), ``ctc_per_ml`` (null with ``reason`` where the volume is
        unknown), ``counts`` by class, ``unidentified``, ``area``, ``drops``, ``removals``, ``correction``, ``size_um``.
        There is no clock in it.
    """
    counts = count.counts
    found, doubtful = counts[count.target], counts.get(UNIDENTIFIED, 0)
    return plain_json(
        {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "slide": _slide(count),
            "complete": count.is_complete,
            "route": count.route,
            "definition": count.definition,
            "target": count.target,
            "ctc": {
                **_counted(found, confidence),
                "if_unidentified_were_ctc": _counted(found + doubtful, confidence),
                "on_whole_slide": _whole_slide(found, count.area.share, confidence),
                "flags": _flags(count),
            },
            "unidentified": doubtful,
            "counts": counts,
            "ctc_per_ml": _concentration(count, found, recovery, confidence),
            "recovery": None if recovery is None else recovery.to_json(),
            "correction": None if performance is None else performance.correct(count, confidence),
            "area": _area(count),
            "drops": [_drop(drop) for drop in count.drops],
            "removals": dict(sorted(count.removals.items())),
            "thresholds": count.thresholds,
            "settings": count.settings,
            "model": count.model,
            "size_um": size_distribution(count.cells, count.classes),
            "software": software_versions(with_model=count.model is not None),
            "notes": list(count.notes),
        }
    )


def write_card(path: str | Path, card: Mapping[str, Any]) -> Path:
    """Write a card as ``count.json``, whole or not at all.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.
    """
    write_json(path, plain_json(card))
    return Path(path)


def read_card(path: str | Path) -> dict[str, Any]:
    """Read what ``write_card`` wrote.

    Raises:
        AnnotationError: the file is missing or no JSON.
        SlideError: it is no count card, lacks a part, or is of a version that this program does not know.
    """
    card = load_json_object(Path(path)).mapping()
    if card.get("schema") != SCHEMA:
        raise SlideError(
            f"{path}: is no count card (`schema` is {card.get('schema')!r}, not {SCHEMA!r}); give count.json"
        )
    if card.get("schema_version") != SCHEMA_VERSION:
        raise SlideError(
            f"{path}: `schema_version` {card.get('schema_version')!r} is not {SCHEMA_VERSION}; count the slide again, "
            "or read it with the version of ctc_mm that wrote it"
        )
    missing = [key for key in NEEDED if not isinstance(card.get(key), dict)]
    if missing:
        raise SlideError(f"{path}: the count card lacks {', '.join(missing)}; restore it or count the slide again")
    return card


def software_versions(with_model: bool) -> dict[str, str]:
    """Versions of what a result can depend on, those that are installed; nothing is imported."""
    versions = {"ctc_mm": __version__, "python": platform.python_version()}
    for name in (*PACKAGES, *(MODEL_PACKAGES if with_model else ())):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def plain_json(value: Any) -> Any:
    """Values as JSON has them: NumPy's as Python's, paths as text, NaN and infinity (undefined) as null."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain_json(one) for one in value]
    if isinstance(value, np.ndarray):
        return plain_json(value.tolist())
    if isinstance(value, np.generic):
        return plain_json(value.item())
    if isinstance(value, Path):
        return value.as_posix()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _slide(count: SlideCount) -> dict[str, Any]:
    spec = count.spec
    return {
        "name": spec.name,
        "files": {channel: Path(path).as_posix() for channel, path in spec.source.paths.items()},
        "channel_map": None if spec.source.channels is None else dict(spec.source.channels),
        "patient": spec.patient,
        "role": spec.role,
        "spiked": spec.spiked,
        "volume_ml": spec.volume_ml,
        "dilution": spec.dilution,
        "blood_ml": spec.blood_ml,
        "size_wh": list(count.size_wh),
        "channels": list(count.channels),
        "um_per_px": count.um_per_px,
        "um_per_px_source": count.um_per_px_source,
    }


def _counted(number: int, confidence: float) -> dict[str, Any]:
    estimate = count_estimate(number, confidence)
    return {
        "count": number,
        "interval": [estimate.low, estimate.high],
        "confidence": confidence,
        "method": estimate.method,
    }


def _whole_slide(found: int, share: float, confidence: float) -> dict[str, Any] | None:
    """The count as if what could not be read held as many cells as the rest; None where nothing could be read."""
    return None if share <= 0 else count_estimate(found, confidence).scaled(1 / share).to_json()


def _flags(count: SlideCount) -> dict[str, int]:
    flags = Counter(flag for cell in count.cells if cell.class_name == count.target for flag in cell.flags)
    return dict(sorted(flags.items()))


def _concentration(count: SlideCount, found: int, recovery: Recovery | None, confidence: float) -> dict[str, Any]:
    blood_ml, share = count.spec.blood_ml, count.area.share
    if blood_ml is None or share <= 0:
        reason = "volume unknown: give --volume-ml" if blood_ml is None else "no part of the slide could be read"
        return {"value": None, "low": None, "high": None, "confidence": confidence, "reason": reason}
    asked = per_ml(found, blood_ml, share, recovery, confidence=confidence).to_json()
    if recovery is None:
        return {**asked, "recovery_applied": None}
    found_only = per_ml(found, blood_ml, share, confidence=confidence).to_json()
    return {**asked, "recovery_applied": recovery.value, "without_recovery": found_only}


def _area(count: SlideCount) -> dict[str, Any]:
    area, um = count.area, count.um_per_px
    pixels = {
        "analysed_px": area.analysed_px,
        "background_px": area.background_px,
        "dropped_px": area.dropped_px,
        "total_px": area.total_px,
        "gap_px": area.gap_px,
    }
    squares = {key.replace("_px", "_mm2"): None if um is None else px * um * um / 1e6 for key, px in pixels.items()}
    return {**pixels, **squares, "share": area.share}


def _drop(drop: Drop) -> dict[str, Any]:
    return {
        "kind": drop.kind,
        "reason": drop.reason,
        "count": drop.count,
        "area_px": drop.area_px,
        "regions_xyxy": [list(region) for region in drop.regions_xyxy],
    }
