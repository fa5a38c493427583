"""The folds of a run, and whether a folder already holds another run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctc_mm
from ctc_mm.datasets.split_files import Fold
from ctc_mm.engine.runs.processes import LOCK_FILE
from ctc_mm.errors import ConfigError
from ctc_mm.formats.files import write_json

PLAN_FILE = "plan.json"
FORMAT = "ctc_mm cross-validation 1"
FINAL = "final"
FOLDER_NAME = re.compile(rf"fold_\d+|{FINAL}(_\d+)?")
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class PlannedFold:
    """One training and its test.

    Attributes:
        name: of its folder, ``fold_<k>``; ``final`` is trained on all that is not held out, and tested on that.
        title: what is tested, for the report.
        repeat: number of the repetition that it belongs to.
        seed: of its training.
        ids: what is trained on, validated and tested.
        not_used: ids of the table that it does not touch.
    """

    name: str
    title: str
    repeat: int
    seed: int
    ids: Fold
    not_used: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What decides its result beside config and data."""
        parts = {part: sorted(self.ids.part(part)) for part in ("train", "val", "test")}
        return {"name": self.name, "seed": self.seed, "not_used": sorted(self.not_used), **parts}


def plan_json(
    identity: Mapping[str, str], options: Mapping[str, Any], data: str, splits: Mapping[str, str], config_name: str
) -> dict[str, Any]:
    """Content of ``plan.json``.

    Args:
        identity: every value of the config (``config_identity``).
        options: that decide the division.
        data: digest of the data.
        splits: digest of each fold's split, by name.
        config_name: for the reader.
    """
    return {
        "format": FORMAT,
        "config_name": config_name,
        "ctc_mm": ctc_mm.__version__,
        "options": dict(options),
        "data": data,
        "splits": dict(splits),
        "config": dict(identity),
    }


def take_folder(out_dir: Path, plan: Mapping[str, Any], again: bool) -> None:
    """Make ``out_dir`` the folder of this plan, going on with what it holds of the same plan.

    More folds than before (``--repeats``) are an addition: those that are there stay.

    Args:
        out_dir: the run's folder, locked.
        plan: see ``plan_json``.
        again: delete what a former run left behind, whatever it was.

    Raises:
        ConfigError: the folder holds something else, or a run with another config, other data or another division.
    """
    former = _read_plan(out_dir)
    if former is not None and again:
        _delete_run(out_dir, former)
        former = None
    elif former is None:
        others = sorted(path.name for path in out_dir.iterdir() if path.name != LOCK_FILE)
        if others:
            raise ConfigError(
                f"{out_dir}: holds other files ({', '.join(others[:_MOST_NAMED])}{', ...' if others[5:] else ''}), not "
                "a cross-validation; give a new folder with --out."
            )
    if former is not None:
        changes = changes_between(former, plan)
        # Where no fold was begun (the leak check failed), there is nothing to mix up.
        if changes and any((out_dir / name / "config.py").is_file() for name in former.get("splits") or {}):
            raise ConfigError(
                f"{out_dir}: holds a cross-validation that differs from this one: {'; '.join(changes)}. Give another "
                "folder with --out, or --again to delete it and start anew."
            )
    write_json(out_dir / PLAN_FILE, dict(plan))


def changes_between(former: Mapping[str, Any], plan: Mapping[str, Any]) -> list[str]:
    """What of a run's config, data and division is not as it was."""
    changes = []
    old, new = former.get("config") or {}, plan["config"]
    differing = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    if differing:
        shown = [f"{name} was {old.get(name, 'absent')}, is {new.get(name, 'absent')}" for name in differing]
        more = f" and {len(differing) - _MOST_NAMED} more" if len(differing) > _MOST_NAMED else ""
        changes.append(f"the config changed ({', '.join(shown[:_MOST_NAMED])}{more})")
    if former.get("data") != plan["data"]:
        changes.append("the data changed (cells, labels, groups or images)")
    old_splits, new_splits = former.get("splits") or {}, plan["splits"]
    if any(new_splits.get(name) != digest for name, digest in old_splits.items()):
        old, new = former.get("options") or {}, plan["options"]
        options = [
            f"{name} was {old.get(name)}, is {new.get(name)}" for name in sorted(new) if old.get(name) != new[name]
        ]
        reason = ", ".join(options) or "other units"
        if not (changes and not options):  # a changed table is told already
            changes.append(f"the division changed ({reason})")
    return changes


def _read_plan(out_dir: Path) -> dict[str, Any] | None:
    path = out_dir / PLAN_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: damaged ({error}); delete the folder, or give another with --out.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigError(f"{path}: was written by another version; give another folder with --out.")
    return content


def _delete_run(out_dir: Path, plan: Mapping[str, Any]) -> None:
    """Remove what a run has written, and nothing else that lies beside it."""
    (out_dir / PLAN_FILE).unlink()
    for name in plan.get("splits") or {}:
        if FOLDER_NAME.fullmatch(name) and (out_dir / name / "config.py").is_file():
            shutil.rmtree(out_dir / name)
