"""What the imFISH rule says of each nucleus and of a field, and the words it uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ctc_mm.imfish.thresholds import ImFISHThresholds

CTC = "ctc"
# In this order the rule looks for a reason; the first that holds is given.
REJECTED = ("border", "debris", "aggregate", "overlap", "out_of_focus")
CD45_POSITIVE = "cd45_positive"


def cep8_reason(count: int) -> str:
    """The reason of a nucleus with too few signals: ``cep8_0``, ``cep8_1``, ``cep8_2`` ..."""
    return f"cep8_{count}"


@dataclass(frozen=True)
class NucleusRecord:
    """One nucleus and the verdict on it.

    Attributes:
        box_xyxy: half-open pixels of the field.
        centroid_yx: pixels of the field, the middle of a pixel is its index.
        area_px: pixels of the nucleus.
        area_um2: the same in square micrometres, where the size of a pixel is known.
        solidity: area over that of the convex hull; low where several nuclei were taken for one.
        bright_share: share of its pixels that are half as bright again as its median; high where two nuclei overlap.
        edge_px: blur of the rim as the standard deviation of a Gaussian, in pixels; None where it cannot be measured.
        touching: number of nuclei in the group of touching nuclei that this one belongs to, itself included.
        dapi: median of the nucleus above its surroundings, in grey values.
        cd45: median of the ring of cytoplasm minus ``cd45_background``, in grey values; None without a CD45 channel.
        cd45_background: CD45 of the empty slide there, in grey values.
        cep8_count: number of CEP8 signals in the nucleus.
        faint_spots: spots in the nucleus that are too faint to be signals.
        spots_yx: the signals' middles in pixels of the field, by y, then x.
        spots_snr: their signal-to-noise ratios.
        reason: ``ctc``, or why it is none.
        is_ctc: the verdict.
    """

    box_xyxy: tuple[float, float, float, float]
    centroid_yx: tuple[float, float]
    area_px: int
    area_um2: float | None
    solidity: float
    bright_share: float
    edge_px: float | None
    touching: int
    dapi: float
    cd45: float | None
    cd45_background: float | None
    cep8_count: int
    faint_spots: int
    spots_yx: tuple[tuple[float, float], ...]
    spots_snr: tuple[float, ...]
    reason: str
    is_ctc: bool

    @property
    def is_rejected(self) -> bool:
        """Whether the nucleus was left out as clumped, cut, blurred or too small, so that nothing is said of it."""
        return self.reason in REJECTED

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        return {
            **values,
            "box_xyxy": list(self.box_xyxy),
            "centroid_yx": list(self.centroid_yx),
            "spots_yx": [list(spot) for spot in self.spots_yx],
            "spots_snr": list(self.spots_snr),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NucleusRecord:
        """Take back what ``to_dict`` gave."""
        tuples = {name: tuple(values[name]) for name in ("box_xyxy", "centroid_yx", "spots_snr")}
        return cls(**{**values, **tuples, "spots_yx": tuple(tuple(spot) for spot in values["spots_yx"])})


@dataclass(frozen=True)
class FieldResult:
    """The nuclei of one field.

    Attributes:
        name: of the field.
        size_wh: width and height in pixels.
        um_per_px: size of a pixel, where known.
        thresholds: every number that the verdicts rest on.
        records: the nuclei in the order of their first pixel, row by row.
    """

    name: str
    size_wh: tuple[int, int]
    um_per_px: float | None
    thresholds: ImFISHThresholds
    records: tuple[NucleusRecord, ...]

    @property
    def ctc_count(self) -> int:
        """Number of CTCs."""
        return sum(record.is_ctc for record in self.records)

    @property
    def reason_counts(self) -> Mapping[str, int]:
        """How many nuclei for each reason, ``ctc`` first, the others by name."""
        counts = Counter(record.reason for record in self.records)
        return {reason: counts[reason] for reason in sorted(counts, key=lambda reason: (reason != CTC, reason))}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "size_wh": list(self.size_wh),
            "um_per_px": self.um_per_px,
            "ctc_count": self.ctc_count,
            "reasons": dict(self.reason_counts),
            "thresholds": self.thresholds.to_dict(),
            "nuclei": [record.to_dict() for record in self.records],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FieldResult:
        """Take back what ``to_dict`` gave."""
        return cls(
            name=values["name"],
            size_wh=tuple(values["size_wh"]),
            um_per_px=values["um_per_px"],
            thresholds=ImFISHThresholds.from_dict(values["thresholds"]),
            records=tuple(NucleusRecord.from_dict(record) for record in values["nuclei"]),
        )
