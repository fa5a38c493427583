"""Counts of phantom slides, made up without a model, for the tests of the report."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ctc_mm.counting.records import AnalysedArea, CountedCell, Drop, Overview, SlideCount, SlideSpec, in_order
from ctc_mm.imaging.display import FLUORESCENCE_PERCENTILES, composite, measure_display_range, stretch_for_display
from ctc_mm.imaging.field import field_from_arrays
from ctc_mm.imaging.field_list import FieldSource
from ctc_mm.imfish.picture import CHANNEL_COLOURS
from ctc_mm.phantoms.brightfield import generate_field
from ctc_mm.phantoms.brightfield_config import BrightfieldPhantomConfig
from ctc_mm.phantoms.imfish import generate_imfish_field
from ctc_mm.phantoms.imfish_config import ImFISHPhantomConfig

EVIL = "</script><img src=x onerror=alert(1)>'\"&"


def make_spec(name="slide_07", **values):
    return SlideSpec(name, FieldSource(name, f"{name}.tif", {"": Path(f"{name}.tif")}), **values)


def small_overview(rgb, most_px=1024):
    scale = min(1.0, most_px / max(rgb.shape[:2]))
    size = tuple(max(1, round(side * scale)) for side in rgb.shape[1::-1])
    return Overview(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), scale)


def outlines_of(instances, number):
    rings, _ = cv2.findContours((instances == number).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return tuple(tuple((float(x) + 0.5, float(y) + 0.5) for x, y in ring[:, 0]) for ring in rings if len(ring) > 2)


def brightfield_count(seed=3, size=1280, blank=False, **values):
    """A bright-field slide with its field; scores are drawn, some CTCs are taken for unidentified cells."""
    rng = np.random.default_rng(seed)
    config = BrightfieldPhantomConfig(image_wh=(size, size), ctc_count=(14, 14), wbc_count=(60, 60))
    phantom = generate_field(config, rng, blank=blank)
    cells = []
    for place, (box, label) in enumerate(zip(phantom.boxes_xyxy.tolist(), phantom.labels.tolist(), strict=True)):
        score = float(rng.uniform(0.22, 1.0)) if label == 0 else float(rng.uniform(0.5, 0.99))
        name = ("CTC", "WBC")[label] if score >= 0.45 else "unidentified"
        flags = ["border"] if min(box) <= 0 or max(box[2:]) >= size else []
        flags += ["clump"] if place % 9 == 4 else []
        cells.append(
            CountedCell(
                tuple(box), name, score, float(phantom.diameters_um[place]), tuple(sorted(flags)), {"window": place % 7}
            )
        )
    picture = np.repeat(phantom.image[..., None], 3, axis=2)
    total, lost = size * size, 256 * 256
    count = SlideCount(
        spec=make_spec(patient="P07", volume_ml=4.0, dilution=2.0),
        size_wh=(size, size),
        um_per_px=0.6,
        um_per_px_source="file",
        channels=("brightfield",),
        route="detect",
        definition="Cell that the detector calls CTC with a score of 0.45 or more.",
        target="CTC",
        classes=("CTC", "WBC", "unidentified"),
        cells=in_order(cells),
        thresholds={"score": {"CTC": 0.45, "WBC": 0.5}, "doubt": 0.5, "noise": 3.217},
        settings={"overlap_px": 72, "window_px": 320, "skip_background": True},
        model={"name": "ssdlite_cbam_mobilenetv2_ctc", "engine": "torch", "hashes": {"checkpoint": "ab12" * 16}},
        area=AnalysedArea(total - lost - total // 5, total // 5, lost),
        drops=(Drop("block", "slide_07.tif: tile 12 of page 0 is damaged", 1, lost, ((512, 256, 768, 512),)),),
        removals={"seam_duplicate": 9, "too_large": 1, "other_window": 41},
        overview=small_overview(picture),
        notes=("The white level was measured on the slide: 4095.",),
    )  # fmt: skip
    return replace(count, **values), field_from_arrays({"brightfield": phantom.image}, "slide_07", 0.6)


def imfish_count(seed=5, **values):
    """A three-channel field with its count by the rule's own measures, outlines among them."""
    config = ImFISHPhantomConfig(image_wh=(768, 768), ctc_count=(9, 9))
    phantom = generate_imfish_field(config, np.random.default_rng(seed))
    truth, cells = phantom.truth, []
    for place in range(len(truth)):
        box = truth.boxes_xyxy[place]
        outlines = outlines_of(phantom.instances, place + 1)
        if not np.isfinite(box).all() or not outlines:
            continue
        name = "unidentified" if not truth.is_interpretable[place] else "CTC" if truth.is_ctc[place] else "non-CTC"
        reason = "aggregate" if name == "unidentified" else "ctc" if name == "CTC" else "cd45_positive"
        cd45 = float(np.where(truth.cd45_positive[place], 480, 35) + 3.3 * place)
        columns = {"reason": reason, "cep8_count": int(truth.cep8_counts[place]), "cd45": round(cd45, 2), "dapi": 900}
        flags = ("aggregate",) if name == "unidentified" else ()
        cells.append(
            CountedCell(tuple(box.tolist()), name, None, float(truth.diameters_um[place]), flags, columns, outlines)
        )
    arrays = {name: phantom.channel(name) for name in phantom.channels}
    planes = [stretch_for_display(one, measure_display_range(one, FLUORESCENCE_PERCENTILES)) for one in arrays.values()]
    count = SlideCount(
        spec=make_spec("P12_imFISH", patient="P12"),
        size_wh=(768, 768),
        um_per_px=0.25,
        um_per_px_source="nuclei",
        channels=phantom.channels,
        route="imfish",
        definition="DAPI-positive nucleus that is whole, alone and in focus, CD45-negative, with at least 3 CEP8 "
        'signals (imfish-cnn-2022, "Detection Standard of CTCs").',
        target="CTC",
        classes=("CTC", "non-CTC", "debris", "unidentified"),
        cells=in_order(cells),
        thresholds={"cd45_threshold": 210.0, "cep8_threshold": 96.5, "settings": {"min_signals": 3, "mode": "robust"}},
        settings={"mode": "robust"},
        model=None,
        area=AnalysedArea(768 * 768),
        overview=small_overview(composite(planes, list(CHANNEL_COLOURS.values()))),
    )
    return replace(count, **values), field_from_arrays(arrays, "P12_imFISH", 0.25)


def crowded_count(number=10_000, channels=("brightfield",), seed=8):
    """A slide with many cells on a jittered grid, 20 px apart."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(number**0.5))
    size = side * 20 + 20
    image = rng.normal(150, 6, (size, size)).astype(np.float32)
    cells = []
    for place in range(number):
        radius = float(rng.normal(5.0, 0.7))
        x, y = (20 + 20 * (place % side) + rng.uniform(-2, 2), 20 + 20 * (place // side) + rng.uniform(-2, 2))
        cv2.circle(image, (round(x), round(y)), round(radius), float(rng.uniform(60, 120)), -1, cv2.LINE_AA)
        score = float(rng.beta(1.0, 5))
        name = "CTC" if score >= 0.5 else "unidentified" if score >= 0.42 else "WBC"
        columns = {
            "logit": round(float(np.log(score / (1 - score))), 4),
            "solidity": round(float(rng.uniform(0.8, 1)), 3),
        }
        box = (x - radius, y - radius, x + radius, y + radius)
        flags = ("clump",) if place % 11 == 0 else ()
        cells.append(CountedCell(box, name, score, radius * 2 * 0.9, flags, columns))
    image = np.clip(image, 0, 255).astype(np.uint8)
    count, _ = brightfield_count(size=640, blank=True)
    count = dataclasses.replace(
        count, spec=make_spec("crowd", volume_ml=1.0), size_wh=(size, size), um_per_px=0.9, channels=tuple(channels),
        route="classify", cells=in_order(cells), area=AnalysedArea(size * size), drops=(), removals={}, notes=(),
        thresholds={"score": 0.5}, overview=small_overview(np.repeat(image[..., None], 3, axis=2)),
    )  # fmt: skip
    return count, field_from_arrays(dict.fromkeys(channels, image), "crowd", 0.9)
