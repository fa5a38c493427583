"""How fast a detector is at batch 1: the model alone, and from the file to the boxes."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from torch import nn

from ctc_mm.formats.files import write_json

MODEL_ALONE = (
    "from the preprocessed batch on the device to boxes there: network, box decoding, NMS, boxes scaled to the "
    "original image; without reading, resizing, normalising or copying"
)
FILE_TO_BOXES = (
    "from the image file (in the system's file cache) to boxes in main memory: reading, decoding, resizing, copying, "
    "normalising, network, box decoding, NMS"
)


@dataclass(frozen=True)
class Timing:
    """Seconds per image over ``n`` single runs: median and quartiles (a mean would follow the outliers)."""

    median_s: float
    quartile1_s: float
    quartile3_s: float
    n: int

    @property
    def fps(self) -> float:
        """Images per second at the median."""
        return 1.0 / self.median_s

    def to_json(self, what: str) -> dict[str, Any]:
        """Plain numbers, with the frames per second and what the time holds."""
        return {"fps": self.fps, **asdict(self), "includes": what}


@dataclass(frozen=True)
class SpeedReport:
    """Measured speed and what it was measured on."""

    model_alone: Timing
    file_to_boxes: Timing
    device: str
    threads: int
    torch_version: str
    input_chw: tuple[int, ...]
    n_images: int
    warmup: int
    repeats: int

    def to_json(self) -> dict[str, Any]:
        """Content of ``speed.json``."""
        return {
            "batch_size": 1,
            "model_alone": self.model_alone.to_json(MODEL_ALONE),
            "file_to_boxes": self.file_to_boxes.to_json(FILE_TO_BOXES),
            "device": self.device,
            "threads": self.threads,
            "torch": self.torch_version,
            "input_chw": list(self.input_chw),
            "images": self.n_images,
            "warmup_runs": self.warmup,
            "runs_per_image": self.repeats,
        }


def inference_pipeline(pipeline: Sequence[Mapping[str, Any] | Callable]) -> Compose:
    """Build a test pipeline from its config, without the steps that load annotations (an image file has none).

    Args:
        pipeline: the config's ``test_pipeline``: dicts or built transforms.
    """

    def loads_truth(step: Mapping[str, Any] | Callable) -> bool:
        kind = step["type"] if isinstance(step, Mapping) else type(step)
        return getattr(kind, "__name__", str(kind)).endswith(("LoadAnnotations", "LabelCEP8"))

    return Compose([step for step in pipeline if not loads_truth(step)])


def chosen_device(wanted: str) -> torch.device:
    """The device of ``cpu``, ``cuda`` or ``auto``: a GPU where there is one."""
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")


def device_name(device: torch.device) -> str:
    """Name a device as a reader of a table wants it."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def seconds_of(run: Callable[[], Any], device: torch.device) -> float:
    """Time one run; a GPU works behind the program's back, so it is waited for on both sides."""
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda _: None)
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


def timing_of(seconds: Sequence[float]) -> Timing:
    """Median and quartiles of single runs."""
    quartile1, median, quartile3 = np.percentile(seconds, [25, 50, 75]).tolist()
    return Timing(median, quartile1, quartile3, len(seconds))


@torch.no_grad()
def _measure(
    model: nn.Module, load: Callable[[dict], dict], images: Sequence[dict], warmup: int, repeats: int
) -> tuple[list[float], list[float], tuple[int, ...]]:
    device = next(model.parameters()).device

    def file_to_boxes(image: dict) -> list:
        return [sample.pred_instances.cpu() for sample in model.test_step(load(image))]

    for _ in range(warmup):
        file_to_boxes(images[0])
    alone, whole = [], []
    for image in images:
        batch = model.data_preprocessor(load(image), False)
        for _ in range(repeats):
            # In turns, so that a machine that slows down slows both.
            alone.append(seconds_of(lambda batch=batch: model(**batch, mode="predict"), device))
            whole.append(seconds_of(lambda image=image: file_to_boxes(image), device))
    return alone, whole, tuple(batch["inputs"].shape[1:])


def measure_speed(
    model: nn.Module,
    pipeline: Sequence[Mapping[str, Any] | Callable],
    images: Sequence[str | Path | Mapping[str, Any]],
    warmup: int = 5,
    repeats: int = 3,
) -> SpeedReport:
    """Measure frames per second at batch 1 (ssd-attention-fusion-2022, section 2.6.4: "speed value").

    The modules' training modes are restored afterwards; gradients are off.

    Args:
        model: a detector of MMDetection, on the device to measure.
        pipeline: its test pipeline (config); steps that load annotations are left out.
        images: files to run on, each ``repeats`` times; a dict with ``img_path`` passes on what else the pipeline
            wants (such as ``white_level`` for 12-bit data).
        warmup: runs on the first image before the clock counts.
        repeats: runs per image.

    Raises:
        ValueError: no image, ``repeats`` below 1 or ``warmup`` below 0.
    """
    starts = [
        {"img_id": index, **(image if isinstance(image, Mapping) else {"img_path": str(image)})}
        for index, image in enumerate(images)
    ]
    if not starts or repeats < 1 or warmup < 0:
        raise ValueError(
            "measuring speed needs at least one image, `repeats` >= 1 and `warmup` >= 0. "
            f"Received: {len(starts)} images, repeats={repeats}, warmup={warmup}"
        )
    steps = inference_pipeline(pipeline)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        alone, whole, input_chw = _measure(
            model, lambda image: pseudo_collate([steps(dict(image))]), starts, warmup, repeats
        )
    finally:
        for module, mode in modes:  # one by one: a frozen part may be in another mode than the rest
            module.training = mode
    return SpeedReport(
        model_alone=timing_of(alone),
        file_to_boxes=timing_of(whole),
        device=device_name(next(model.parameters()).device),
        threads=torch.get_num_threads(),
        torch_version=torch.__version__,
        input_chw=input_chw,
        n_images=len(starts),
        warmup=warmup,
        repeats=repeats,
    )


def write_speed(path: str | Path, report: SpeedReport) -> None:
    """Write ``speed.json``."""
    write_json(path, report.to_json())
