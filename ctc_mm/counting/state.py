"""What a run keeps of each slide in ``OUT/.state``, so that it can go on after it was stopped.

``slide.json`` says of what the rest was made; ``first_pass.json`` with ``overview.png``, and a ``unit-*.json`` for each
unit measured; ``done.json`` when every file of the slide is written. Each carries the key of what it was made of, and
one with another key does not count. The folder may be deleted: the run starts anew then.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ctc_mm import __version__
from ctc_mm.counting.records import Overview, SlideSpec, as_json
from ctc_mm.counting.route import FirstPass, JsonDict, SlidePlan, TileResult
from ctc_mm.counting.units import Unit, units_of
from ctc_mm.errors import ImageReadError, SlideError
from ctc_mm.formats.files import atomic_write_bytes, remove_unfinished, write_json
from ctc_mm.imaging.decode import is_tiff
from ctc_mm.imaging.tiff_field import TiffChannels

STATE_FOLDER = ".state"
SLIDE, FIRST_PASS, OVERVIEW, DONE = "slide.json", "first_pass.json", "overview.png", "done.json"
# What each of them holds at least.
KEYS = {
    SLIDE: ("key", "facts"),
    FIRST_PASS: ("key", "overview_scale", "levels"),
    DONE: ("key", "outputs", "sizes", "note"),
}
UNITS, UNIT_KEYS = "unit-*.json", ("key", "payloads")
# Of a slide's description, what its pixels and their meaning depend on; the rest only names and weighs the count.
MEASURED_KEYS = ("name", "um_per_px")


def slide_facts(spec: SlideSpec, identity: Mapping[str, Any]) -> JsonDict:
    """Everything that the cells of a slide depend on, as JSON values: files, channels, route and our version."""
    described = as_json(spec)
    files = [[path.name, *_stamp(path)] for path in _files_of(spec)]
    channels = None if spec.source.channels is None else dict(spec.source.channels)
    return _through_json(
        {
            **{key: described[key] for key in MEASURED_KEYS},
            "files": files,
            "channels": [sorted(spec.source.paths), channels],
            "route": dict(identity),
            "version": __version__,
        }
    )


def _files_of(spec: SlideSpec) -> list[Path]:
    """Files and folders of a slide, those too that only the metadata of a TIFF set names."""
    given = [path for _, path in sorted(spec.source.paths.items())]
    return list(dict.fromkeys([*given, *(member for path in given for member in _members(path))]))


def _members(path: Path) -> tuple[Path, ...]:
    try:
        if not path.is_file() or not is_tiff(path):
            return ()
        with closing(TiffChannels(path, z_projection="max")) as opened:
            return opened.paths
    except ImageReadError:  # whoever plans the slide says why it cannot be read
        return ()


def _stamp(path: Path) -> tuple[int, int | str]:
    """Size in bytes and time of the last change of a file; of a folder the hash of those of all its files, by name."""
    if path.is_dir():
        files = sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)
        stamps = [(file.relative_to(path).as_posix(), *_stamp(file)) for file in files]
        return sum(size for _, size, _ in stamps), key_of(stamps)
    if not path.exists():
        return -1, 0
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def key_of(content: Any) -> str:
    """Short hash of JSON values."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class SlideState:
    """The state of one slide.

    Args:
        out_dir: folder of the run.
        spec: the slide.
        identity: of the route.

    Attributes:
        changed: what differs from the run that left the state there, in words; empty where nothing does.
        was_counted: whether that run had counted the slide to its end.
    """

    def __init__(self, out_dir: str | Path, spec: SlideSpec, identity: Mapping[str, Any]) -> None:
        self.folder = Path(out_dir) / STATE_FOLDER / spec.name
        self._name = spec.name
        self._facts = slide_facts(spec, identity)
        self._key = key_of(self._facts)
        former = self._read(SLIDE)
        self.was_counted = (self.folder / DONE).is_file()
        self.changed = () if former is None else tuple(_changes(former["facts"], self._facts))

    def begin(self) -> None:
        """Make the folder; what another slide or other settings left is removed, and what a killed process left.

        Raises:
            OSError: it cannot be written.
        """
        if self.changed:
            shutil.rmtree(self.folder)
        remove_unfinished(self.folder, (*KEYS, OVERVIEW, UNITS))
        if not (self.folder / SLIDE).is_file():
            write_json(self.folder / SLIDE, {"key": self._key, "facts": self._facts})

    def first_pass(self) -> FirstPass | None:
        """The first pass, where it was made before."""
        saved = self._read(FIRST_PASS)
        if saved is None or saved["key"] != self._key:
            return None
        overview = self.folder / OVERVIEW
        encoded = np.frombuffer(overview.read_bytes() if overview.is_file() else b"", np.uint8)
        bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
        if bgr is None:
            raise self._damaged(overview)
        return FirstPass(saved["levels"], Overview(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), saved["overview_scale"]))

    def save_first_pass(self, plan: SlidePlan, first: FirstPass) -> FirstPass:
        """Keep the first pass; the one given back is as it will be read after a restart."""
        done, encoded = cv2.imencode(".png", cv2.cvtColor(first.overview.rgb, cv2.COLOR_RGB2BGR))
        if not done:
            raise SlideError(f"slide {self._name}: its overview of shape {first.overview.rgb.shape} cannot be encoded")
        atomic_write_bytes(self.folder / OVERVIEW, encoded.tobytes())
        content = {"overview_scale": first.overview.scale, "cut": _cut(plan), "levels": first.levels}
        write_json(self.folder / FIRST_PASS, {"key": self._key, **content})
        return FirstPass(_through_json(first.levels), first.overview)

    def units_left(self, plan: SlidePlan) -> list[Unit]:
        """Units that are yet to be measured."""
        return [unit for unit in units_of(plan) if self._read_unit(plan, unit) is None]

    def save_unit(self, plan: SlidePlan, unit: Unit, payloads: Sequence[JsonDict]) -> None:
        """Keep what was found on a unit's tiles."""
        write_json(self._unit_path(unit), {"key": self._unit_key(plan), "payloads": list(payloads)})

    def results(self, plan: SlidePlan) -> Iterator[TileResult]:
        """What was found, tile by tile, in their order; every unit must have been measured."""
        for unit in units_of(plan):
            payloads = self._read_unit(plan, unit)
            if payloads is None:
                raise SlideError(
                    f"{self._unit_path(unit)}: is gone or was changed since it was written; run again without touching "
                    f"{self.folder.parent}"
                )
            for tile, payload in zip(unit.tiles, payloads, strict=True):
                yield TileResult(self._name, tile, payload)

    def done(self, outputs_key: str) -> JsonDict | None:
        """What was noted when the slide was finished with these outputs, if its files are as they were; else None."""
        saved = self._read(DONE)
        if saved is None or saved["key"] != self._key or saved["outputs"] != outputs_key:
            return None
        out_dir = self.folder.parents[1]
        return (
            saved["note"] if all(_stamp(out_dir / name)[0] == size for name, size in saved["sizes"].items()) else None
        )

    def save_done(self, outputs_key: str, files: Sequence[Path], note: Mapping[str, Any]) -> None:
        """Note that every file of the slide is written."""
        sizes = {file.relative_to(self.folder.parents[1]).as_posix(): _stamp(file)[0] for file in files}
        content = {"key": self._key, "outputs": outputs_key, "sizes": sizes, "note": dict(note)}
        write_json(self.folder / DONE, content)

    def _unit_path(self, unit: Unit) -> Path:
        return self.folder / f"unit-{unit.first:06d}.json"

    def _unit_key(self, plan: SlidePlan) -> str:
        return key_of([self._key, _cut(plan)])

    def _read_unit(self, plan: SlidePlan, unit: Unit) -> list[JsonDict] | None:
        saved = self._read(self._unit_path(unit).name)
        whole = saved is not None and saved["key"] == self._unit_key(plan) and len(saved["payloads"]) == len(unit.tiles)
        return saved["payloads"] if whole else None

    def _read(self, name: str) -> JsonDict | None:
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise self._damaged(path, f" ({error})") from error
        keys = KEYS.get(name, UNIT_KEYS)
        if not isinstance(content, dict) or not all(key in content for key in keys):
            raise self._damaged(path, f" (it holds no {', '.join(keys)})")
        return content

    def _damaged(self, path: Path, why: str = "") -> SlideError:
        return SlideError(f"{path}: is damaged{why}; delete the folder {self.folder} and run again")


def _cut(plan: SlidePlan) -> JsonDict:
    """How the slide is cut into tiles: units of another cut cannot be used."""
    return {"tile_px": plan.tile_px, "n_tiles": plan.n_tiles, "size_wh": list(plan.size_wh)}


def _changes(former: Any, now: Any, name: str = "") -> Iterator[str]:
    """What differs between two JSON values, by the dotted name of the key."""
    if isinstance(former, dict) and isinstance(now, dict):
        for key in sorted({*former, *now}):
            yield from _changes(former.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif former != now:
        yield f"{name}: {_short(former)} -> {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _through_json(content: Any) -> Any:
    """The content as it will be read back, so that a run that was stopped and one that was not see the same."""
    return json.loads(json.dumps(content, allow_nan=False))
