"""The operating point of a classifier: thresholds, temperature and size threshold, chosen on validation and frozen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

KIND = "classification"


@dataclass(frozen=True)
class ClassificationPoint:
    """What validation fixes for a test.

    Args:
        target: the class that is looked for.
        thresholds: by rule (``youden``, ``wanted_sensitivity``, ``wanted_fpr``), a cell is called target if its score
            is >= this; None where validation could not decide.
        reasons: by rule, why there is no threshold.
        wanted_sensitivity, wanted_fpr: what the last two rules asked for.
        temperature: what the log-odds are divided by; ``temperature_reason``: why it was not fitted, or ''.
        size_thr: diameter (``>=``) of the size-only baseline; None where no size was known; ``size_unit``: ``um`` or
            ``px``; ``size_reason``: why there is none, or ''.
        n_target, n_rest: cells that all this was chosen on.
        epoch, iter: finished epochs and iterations of the weights (None outside a training run).
    """

    target: str
    thresholds: dict[str, float | None]
    wanted_sensitivity: float
    wanted_fpr: float
    temperature: float
    n_target: int
    n_rest: int
    reasons: dict[str, str] = field(default_factory=dict)
    temperature_reason: str = ""
    size_thr: float | None = None
    size_unit: str | None = None
    size_reason: str = ""
    epoch: int | None = None
    iter: int | None = None

    def __post_init__(self) -> None:
        for name, value in {**self.thresholds, "size_thr": self.size_thr}.items():
            if value is not None and not _finite(value):
                raise ValueError(f"the threshold {name!r} must be a finite number or None. Received: {value!r}")
        if not (_finite(self.temperature) and self.temperature > 0):
            raise ValueError(f"`temperature` must be a positive number. Received: {self.temperature!r}")
        if self.size_thr is not None and self.size_unit not in ("um", "px"):
            raise ValueError(f"`size_unit` must be 'um' or 'px'. Received: {self.size_unit!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, strings and numbers: fits JSON, a config, and a checkpoint loaded with weights only."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ClassificationPoint:
        """Read what ``to_dict`` wrote.

        Raises:
            ValueError: a key is missing or unknown, or a value is no number.
        """
        known = set(cls.__dataclass_fields__)
        needed = {"target", "thresholds", "wanted_sensitivity", "wanted_fpr", "temperature", "n_target", "n_rest"}
        received = set(content) - {"kind"}
        if not needed <= received <= known:
            raise ValueError(
                f"a classifier's operating point has the keys {sorted(needed)} and may have {sorted(known - needed)}. "
                f"Received: {sorted(received)}"
            )
        plain = {key: dict(value) if isinstance(value, Mapping) else value for key, value in content.items()}
        plain.pop("kind", None)
        for name in ("thresholds", "reasons"):
            if not isinstance(plain.get(name, {}), dict):
                raise ValueError(f"`{name}` of an operating point is a dict by rule. Received: {plain[name]!r}")
        return cls(**plain)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
