"""How many cells a classifier judges in a second: one at a time, and in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from torch import nn

from ctc_mm.evaluation.speed import Timing, device_name, seconds_of, timing_of
from ctc_mm.formats.files import write_json

MODEL_ALONE = "from the preprocessed batch on the device to class scores there; without reading, resizing or copying"
FILE_TO_SCORES = "from the image files (in the system's file cache) to class scores in main memory, in one process"
BATCH_SIZES = (1, 8, 32, 128)


@dataclass(frozen=True)
class ClassifierSpeed:
    """Measured speed and what it was measured on; a timing is of one image, the batch's time over its size."""

    model_alone: dict[int, Timing]
    file_to_scores: Timing
    device: str
    threads: int
    torch_version: str
    input_chw: tuple[int, ...]

    @property
    def best_batch_size(self) -> int:
        """The batch size with the most images per second."""
        return max(self.model_alone, key=lambda size: self.model_alone[size].fps)

    def to_json(self) -> dict[str, Any]:
        """Content of ``speed.json``."""
        batches = {str(size): {"images_per_s": one.fps, **asdict(one)} for size, one in self.model_alone.items()}
        whole = self.file_to_scores
        return {
            "model_alone": {
                "includes": MODEL_ALONE,
                "batch_1": batches["1"],
                "best": {"batch_size": self.best_batch_size, **batches[str(self.best_batch_size)]},
                "by_batch_size": batches,
            },
            "file_to_scores": {"images_per_s": whole.fps, **asdict(whole), "batch_size": 1, "includes": FILE_TO_SCORES},
            "device": self.device,
            "threads": self.threads,
            "torch": self.torch_version,
            "input_chw": list(self.input_chw),
        }


@torch.no_grad()
def measure_classifier_speed(
    model: nn.Module,
    dataset: BaseDataset,
    n_images: int = 8,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    repeats: int = 3,
) -> ClassifierSpeed:
    """Measure images per second at several batch sizes; modes of the model are restored afterwards.

    Args:
        model: a classifier of MMPretrain, on the device to measure.
        dataset: its test set with its pipeline.
        n_images: images to run on, from the first one on; batches repeat them.
        batch_sizes: to try; 1 is always among them.
        repeats: runs per batch size, and per image from its file.

    Raises:
        ValueError: an empty data set, or ``n_images`` or ``repeats`` below 1.
    """
    n_images = min(n_images, len(dataset))
    if n_images < 1 or repeats < 1:
        raise ValueError(
            f"measuring speed needs an image and `repeats` >= 1. Received: {n_images} images, repeats={repeats}"
        )
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        samples = [dataset[index] for index in range(n_images)]
        alone, batch = {}, {}
        for size in sorted({1, *batch_sizes}):
            batch = model.data_preprocessor(pseudo_collate([samples[i % n_images] for i in range(size)]), False)
            seconds = [
                seconds_of(lambda batch=batch: model(**batch, mode="predict"), device) for _ in range(1 + repeats)
            ]
            alone[size] = timing_of([one / size for one in seconds[1:]])  # the first run warms up
        whole = [
            seconds_of(
                lambda index=index: [one.cpu() for one in model.test_step(pseudo_collate([dataset[index]]))], device
            )
            for index in list(range(n_images)) * repeats
        ]
    finally:
        for module, mode in modes:
            module.training = mode
    chw = tuple(batch["inputs"].shape[1:])
    threads = torch.get_num_threads()
    return ClassifierSpeed(alone, timing_of(whole), device_name(device), threads, torch.__version__, chw)


def write_classifier_speed(path: str | Path, report: ClassifierSpeed) -> None:
    """Write ``speed.json``."""
    write_json(path, report.to_json())
