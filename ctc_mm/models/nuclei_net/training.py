"""Training of the nucleus network: reproducible from a seed, resumable after an interruption."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ctc_mm.errors import CheckpointError
from ctc_mm.formats.files import atomic_path
from ctc_mm.models.nuclei_net.fields import SOURCES, TrainingField
from ctc_mm.models.nuclei_net.network import NucleiNet
from ctc_mm.models.nuclei_net.patches import draw_batch
from ctc_mm.models.nuclei_net.synthetic import synthetic_fields

# Share of the patches that comes from each source: the one of many microscopes has the most to teach.
SYNTHETIC, SYNTHETIC_FIELDS = "synthetic", 96
SHARES = {SOURCES[0]: 0.35, SOURCES[1]: 0.5, SYNTHETIC: 0.15}
SAVE_EVERY = 500
WARM_UP_STEPS = 100
DEPTH_WEIGHT = 2.0


@dataclass(frozen=True)
class TrainSettings:
    """What a training depends on beside its fields.

    Attributes:
        steps: number of batches; more were no better on held-out fields (docs/results/nuclei_net.md).
        batch_size: patches in a batch.
        patch_px: side of a patch in pixels.
        lr: highest learning rate of AdamW, after a warm-up and before a cosine down to 0.
        weight_decay: of AdamW.
        ema_decay: of the moving average of the weights, which is what is kept.
        channels: of the network.
        seed: of weights and patches.
    """

    steps: int = 3000
    batch_size: int = 8
    patch_px: int = 160
    lr: float = 4e-3
    weight_decay: float = 0.02
    ema_decay: float = 0.998
    channels: tuple[int, ...] = (24, 32, 48, 64)
    seed: int = 0


def training_groups(fields: Sequence[TrainingField], seed: int) -> tuple[list[list[TrainingField]], list[float]]:
    """Fields by source, with synthetic ones added, and the share of patches that each group gives.

    Raises:
        ValueError: a field of a source that ``SHARES`` does not name.
    """
    groups = {source: [field for field in fields if field.source == source] for source in SHARES}
    groups[SYNTHETIC] = synthetic_fields(SYNTHETIC_FIELDS, seed)
    if strangers := sorted({field.source for field in fields} - set(SHARES)):
        raise ValueError(f"fields must come from {', '.join(SHARES)}. Received: {', '.join(strangers)}")
    present = [source for source in SHARES if groups[source]]
    total = sum(SHARES[source] for source in present)
    return [groups[source] for source in present], [SHARES[source] / total for source in present]


def train(
    groups: Sequence[Sequence[TrainingField]], shares: Sequence[float], settings: TrainSettings, checkpoint: Path
) -> Iterator[tuple[int, float]]:
    """Train, yielding step and loss; the state is saved to ``checkpoint`` on the way, and taken from it if it exists.

    Step k draws its patches from a generator of its own, seeded with (seed, k), so a resumed training sees the same.

    Raises:
        CheckpointError: ``checkpoint`` was made with other settings.
    """
    torch.manual_seed(settings.seed)
    model = NucleiNet(settings.channels).to(memory_format=torch.channels_last).train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), settings.lr, weight_decay=settings.weight_decay)
    parts = {"model": model, "average": average, "optimizer": optimizer}
    for step in range(_resume(checkpoint, parts, settings), settings.steps):
        batch = draw_batch(
            groups, shares, settings.batch_size, settings.patch_px, np.random.default_rng((settings.seed, step))
        )
        inputs, targets = (torch.from_numpy(array).to(memory_format=torch.channels_last) for array in batch)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * lr_factor(step, settings.steps)
        loss = map_loss(model(inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == settings.steps:
            _save(checkpoint, parts, settings, step + 1)
        yield step, float(loss.detach())


def lr_factor(step: int, steps: int) -> float:
    """Share of the highest learning rate at a step: a linear rise, then a cosine to 0."""
    rise = min((step + 1) / WARM_UP_STEPS, 1.0)
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def map_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of both maps, and 1 - Dice of the nuclei so that sparse ones weigh as much as crowded ones."""
    nucleus, depth = logits[:, 0], logits[:, 1]
    true_nucleus, true_depth = targets[:, 0], targets[:, 1]
    overlap = (nucleus.sigmoid() * true_nucleus).sum()
    dice = (2 * overlap + 1) / (nucleus.sigmoid().sum() + true_nucleus.sum() + 1)
    return (
        functional.binary_cross_entropy_with_logits(nucleus, true_nucleus)
        + DEPTH_WEIGHT * functional.binary_cross_entropy_with_logits(depth, true_depth)
        + 0.5 * (1 - dice)
    )


def load_trained(checkpoint: Path) -> NucleiNet:
    """The averaged network of a finished training, in evaluation mode.

    Raises:
        CheckpointError: the training is not finished.
    """
    state = _read(checkpoint)
    settings = TrainSettings(**{**state["settings"], "channels": tuple(state["settings"]["channels"])})
    if state["step"] < settings.steps:
        raise CheckpointError(f"{checkpoint}: stopped at step {state['step']} of {settings.steps}; run it to the end")
    average = AveragedModel(NucleiNet(settings.channels), use_buffers=True)
    average.load_state_dict(state["average"])
    return average.module.eval()


def _save(checkpoint: Path, parts: dict[str, Any], settings: TrainSettings, step: int) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    with atomic_path(checkpoint) as temporary:
        torch.save({**state, "settings": asdict(settings), "step": step}, temporary)


def _resume(checkpoint: Path, parts: dict[str, Any], settings: TrainSettings) -> int:
    """Fill ``parts`` from a checkpoint, if there is one; the step to go on with."""
    if not checkpoint.exists():
        return 0
    state = _read(checkpoint)
    made_with = {**state["settings"], "channels": tuple(state["settings"]["channels"])}
    if made_with != asdict(settings):
        raise CheckpointError(
            f"{checkpoint}: made with other settings ({made_with}); delete it, or give another folder. "
            f"Received: {asdict(settings)}"
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def _read(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, map_location="cpu", weights_only=True)
