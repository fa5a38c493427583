"""The imFISH part of ``imaging.py``: the rule on phantoms it was not set on, and on a large field read in tiles."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import markdown_table, peak_mib, resident_mib
from scipy.optimize import linear_sum_assignment

from ctc_mm.cli import progress
from ctc_mm.evaluation.functional.boxes import pairwise_iou
from ctc_mm.imaging.io import field_from_arrays, open_field
from ctc_mm.imfish import NucleusRecord, classify_field
from ctc_mm.phantoms import ImFISHField, ImFISHPhantomConfig, ImFISHTruth, generate_imfish_field, write_imfish_slide

# The rule was set on seeds below 131.
FIRST_SEED = 1000
MATCH_IOU = 0.5
# Light at which the camera's noise is four times as strong against the signal.
DIM_ELECTRONS = 9000.0 / 16
IDENTITY_TILES_PX = (1024, 2048, 4096)
READ_TILE_PX = 2048


def phantom_kinds() -> dict[str, ImFISHPhantomConfig]:
    """Configs that the rule is tried on, by name."""
    ordinary = ImFISHPhantomConfig()
    return {
        "ordinary noise": ordinary,
        "no size cue": ordinary.without_size_cue(),
        "8 bit": replace(ordinary, bit_depth=8),
        "4 x noise": replace(ordinary, full_well_electrons=DIM_ELECTRONS),
        "x20 (0.4 um/px)": replace(ordinary, um_per_px=0.4, image_wh=(640, 640)),
        "no WBC": replace(ordinary, wbc_count=(0, 0), overlap_count=(0, 0), aggregate_count=(0, 0)),
        "WBC alone": replace(ordinary, ctc_count=(0, 0), other_count=(0, 0)),
    }


@dataclass
class RuleScore:
    """Counts of the rule's verdicts on single, whole nuclei in focus, and of CTCs seen where there is none."""

    tp: int = 0
    fn: int = 0
    fp: int = 0
    tn: int = 0
    counted: int = 0
    exact: int = 0
    resolvable: int = 0
    exact_of_resolvable: int = 0
    not_found: int = 0
    ctc_in_nothing: int = 0
    ctc_in_clumps: int = 0
    clumped: int = 0
    confusion: Counter = field(default_factory=Counter)

    def add(self, records: Sequence[NucleusRecord], truth: ImFISHTruth) -> None:
        """Take in one field. A CTC where no nucleus was drawn counts as a false positive."""
        record_of = match_records(records, truth)
        found = set(record_of.values())
        self.ctc_in_nothing += sum(record.is_ctc and row not in found for row, record in enumerate(records))
        for index in range(len(truth)):
            record = records[record_of[index]] if index in record_of else None
            said_ctc = record is not None and record.is_ctc
            if not truth.is_interpretable[index]:
                is_clumped = not truth.is_single[index]
                self.clumped += is_clumped
                self.ctc_in_clumps += said_ctc and is_clumped
                continue
            self._count_verdict(bool(truth.is_ctc[index]), said_ctc)
            self.not_found += record is None
            kind = _kind(truth, index)
            self.confusion[kind, record.reason if record else "not found"] += 1
            if record is not None:
                self._count_signals(record.cep8_count, truth, index)

    def _count_verdict(self, is_ctc: bool, said_ctc: bool) -> None:
        if is_ctc:
            self.tp, self.fn = self.tp + said_ctc, self.fn + (not said_ctc)
        else:
            self.fp, self.tn = self.fp + said_ctc, self.tn + (not said_ctc)

    def _count_signals(self, count: int, truth: ImFISHTruth, index: int) -> None:
        all_apart = truth.cep8_resolvable[index] == truth.cep8_counts[index]
        right = count == truth.cep8_counts[index]
        self.counted += 1
        self.exact += int(right)
        self.resolvable += int(all_apart)
        self.exact_of_resolvable += int(right and all_apart)

    def to_dict(self) -> dict[str, Any]:
        """Counts, and rates that are None where there is nothing to count."""
        negatives = self.fp + self.ctc_in_nothing + self.tn
        return {
            "sensitivity": _rate(self.tp, self.tp + self.fn),
            "specificity": _rate(self.tn, negatives),
            "exact_cep8": _rate(self.exact, self.counted),
            "exact_cep8_of_resolvable": _rate(self.exact_of_resolvable, self.resolvable),
            "tp": self.tp,
            "fn": self.fn,
            "fp": self.fp + self.ctc_in_nothing,
            "tn": self.tn,
            "counted": self.counted,
            "exact": self.exact,
            "resolvable": self.resolvable,
            "exact_of_resolvable": self.exact_of_resolvable,
            "not_found": self.not_found,
            "ctc_in_clumps": self.ctc_in_clumps,
            "clumped": self.clumped,
            "confusion": {f"{true} -> {said}": n for (true, said), n in sorted(self.confusion.items())},
        }


def match_records(records: Sequence[NucleusRecord], truth: ImFISHTruth) -> dict[int, int]:
    """Row of the truth -> record, one to one, boxes overlapping by IoU 0.5 at least, best sum of overlaps."""
    visible = np.flatnonzero(np.isfinite(truth.boxes_xyxy[:, 0]))
    if not len(records) or not len(visible):
        return {}
    boxes = np.array([record.box_xyxy for record in records], np.float32)
    iou = pairwise_iou(boxes, truth.boxes_xyxy[visible])
    rows, columns = linear_sum_assignment(np.where(iou >= MATCH_IOU, iou, 0), maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {int(visible[column]): row for row, column in pairs if iou[row, column] >= MATCH_IOU}


def _kind(truth: ImFISHTruth, index: int) -> str:
    if truth.is_ctc[index]:
        return "ctc"
    return "cd45_positive" if truth.cd45_positive[index] else f"cep8_{truth.cep8_counts[index]}"


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def score_rule(configs: dict[str, ImFISHPhantomConfig], fields: int, first_seed: int = FIRST_SEED) -> dict[str, Any]:
    """Score the rule on ``fields`` fields of each config, all with default settings."""
    scores = {}
    for name, config in configs.items():
        score = RuleScore()
        for seed in progress(range(first_seed, first_seed + fields), f"imFISH, {name}"):
            drawn = generate_imfish_field(config, np.random.default_rng(seed))
            score.add(classify_field(_as_field(drawn)).records, drawn.truth)
        scores[name] = {"fields": fields, **score.to_dict()}
    return scores


def _as_field(drawn: ImFISHField) -> Any:
    planes = dict(zip(drawn.channels, drawn.image_cyx, strict=True))
    return field_from_arrays(planes, um_per_px=drawn.um_per_px)


def compare_tiles(folder: Path, side_px: int = 4000) -> dict[str, Any]:
    """Judge one slide in tiles of several sizes; the last holds the slide whole."""
    path = folder / "identity.ome.tif"
    write_imfish_slide(path, (side_px, side_px), seed=FIRST_SEED)
    with open_field(path) as slide:
        results = [classify_field(slide, tile_px=tile_px) for tile_px in IDENTITY_TILES_PX]
    return {
        "side_px": side_px,
        "tiles_px": list(IDENTITY_TILES_PX),
        "nuclei": len(results[0].records),
        "ctcs": results[0].ctc_count,
        "identical": all(result == results[0] for result in results),
    }


def time_slide(folder: Path, side_px: int = 10_000, workers: int = 2, rounds: int = 1) -> dict[str, Any]:
    """Time a large three-channel field, reading included, and its peak memory, in a process of its own."""
    path = folder / "speed.ome.tif"
    truth = write_imfish_slide(path, (side_px, side_px), seed=FIRST_SEED + 1)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        measured = pool.submit(_time_in_process, path, workers, rounds).result()
    megapixels = side_px**2 / 1e6
    return {
        "side_px": side_px,
        "workers": workers,
        "true_nuclei": len(truth),
        "true_ctcs": int(truth.is_ctc.sum()),
        "nuclei": measured["nuclei"],
        "ctcs": measured["ctcs"],
        "mp_per_s": round(megapixels / measured["wall_s"], 2),
        "mp_per_processor_s": round(megapixels / measured["processor_s"], 2),
        "reading_mp_per_s": round(megapixels / measured["reading_s"], 1),
        "peak_mib": round(measured["peak_mib"]),
        "start_mib": round(measured["start_mib"]),
    }


def _time_in_process(path: Path, workers: int, rounds: int) -> dict[str, float]:
    start_mib = resident_mib()
    walls, processor, readings = [], [], []
    for _ in range(rounds):
        with open_field(path) as slide:
            readings.append(_read_all(slide))
            wall_s, processor_s = time.perf_counter(), time.process_time()
            result = classify_field(slide, workers=workers, progress=progress)
            walls.append(time.perf_counter() - wall_s)
            processor.append(time.process_time() - processor_s)
    return {
        "wall_s": min(walls),
        "processor_s": min(processor),
        "reading_s": min(readings),
        "nuclei": len(result.records),
        "ctcs": result.ctc_count,
        "peak_mib": peak_mib(),
        "start_mib": start_mib,
    }


def _read_all(slide: Any) -> float:
    """Seconds to read every pixel of every channel once, tile by tile."""
    start = time.perf_counter()
    width, height = slide.size_wh
    for y in range(0, height, READ_TILE_PX):
        for x in range(0, width, READ_TILE_PX):
            slide.read(None, (x, y, min(x + READ_TILE_PX, width), min(y + READ_TILE_PX, height)))
    return time.perf_counter() - start


def benchmark_imfish(fields: int = 40, side_px: int = 10_000, workers: int = 2, rounds: int = 1) -> dict[str, Any]:
    """Run all three parts.

    Returns:
        ``rule`` (by kind of phantom: rates and counts), ``tiles`` and ``speed``.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "rule": score_rule(phantom_kinds(), fields),
            "tiles": compare_tiles(folder),
            "speed": time_slide(folder, side_px, workers, rounds),
        }


def imfish_markdown(result: dict[str, Any]) -> str:
    """What ``benchmark_imfish`` found, as Markdown."""
    rows: Iterable[Sequence[object]] = (
        (
            kind,
            _with_counts(one["sensitivity"], one["tp"], one["tp"] + one["fn"]),
            _with_counts(one["specificity"], one["tn"], one["tn"] + one["fp"]),
            _with_counts(one["exact_cep8"], one["exact"], one["counted"]),
            _with_counts(one["exact_cep8_of_resolvable"], one["exact_of_resolvable"], one["resolvable"]),
            f"{one['ctc_in_clumps']} / {one['clumped']}",
        )
        for kind, one in result["rule"].items()
    )
    headers = ("phantom", "sensitivity", "specificity", "exact CEP8, all", "exact CEP8, resolvable", "CTC in clumps")
    speed, tiles = result["speed"], result["tiles"]
    same = "identical" if tiles["identical"] else "DIFFERENT"
    return "\n".join(
        (
            markdown_table(headers, rows),
            "",
            f"A field of {speed['side_px']:,} x {speed['side_px']:,} px, three channels, {speed['workers']} threads: "
            f"{speed['mp_per_s']} MP/s ({speed['mp_per_processor_s']} MP per processor second; reading alone "
            f"{speed['reading_mp_per_s']} MP/s), {speed['peak_mib']} MiB at most, {speed['nuclei']} nuclei, "
            f"{speed['ctcs']} CTCs.",
            "",
            f"Tiles of {', '.join(map(str, tiles['tiles_px']))} px on {tiles['side_px']} x {tiles['side_px']} px "
            f"({tiles['nuclei']} nuclei, {tiles['ctcs']} CTCs): {same} results.",
        )
    )


def _with_counts(rate: float | None, part: int, whole: int) -> str:
    return "-" if rate is None else f"{100 * rate:.1f} % ({part}/{whole})"
