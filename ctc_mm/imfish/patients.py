"""CTCs per patient, and over patients as mean and range (paper imfish-cnn-2022, Table 1: "9.9(0-318)").

A count travels with the volume of blood it was made from (4 mL in the paper; reading 19) and is rescaled only when
asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ctc_mm.imfish.records import FieldResult

PAPER_BLOOD_ML = 4.0


@dataclass(frozen=True)
class PatientCount:
    """CTCs of one patient, over all fields of all slides of the sample.

    Attributes:
        patient: name.
        ctcs: CTCs counted; a fraction where the count was rescaled.
        blood_ml: volume of blood that ``ctcs`` stands for.
        fields: fields looked at.
        nuclei: nuclei found.
        judged: those of them that could be judged (not clumped, cut, blurred or too small).
        counted_ml: volume of blood that was looked at; other than ``blood_ml`` where the count was rescaled.

    Raises:
        ValueError: a volume that is not positive, no field.
    """

    patient: str
    ctcs: float
    blood_ml: float
    fields: int
    nuclei: int
    judged: int
    counted_ml: float | None = None

    def __post_init__(self) -> None:
        for name in ("blood_ml", "counted_ml"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"`{name}` of patient {self.patient} must be a positive number of mL. Received: {value}"
                )
        if self.fields < 1:
            raise ValueError(f"patient {self.patient} has no field; leave the patient out, for 0 would be a result")
        if self.counted_ml is None:
            object.__setattr__(self, "counted_ml", self.blood_ml)

    def per(self, blood_ml: float) -> PatientCount:
        """Give the count as it would be in ``blood_ml`` of blood; ``counted_ml`` keeps what was looked at."""
        return replace(self, ctcs=self.ctcs * blood_ml / self.blood_ml, blood_ml=blood_ml)


@dataclass(frozen=True)
class CohortCount:
    """CTCs over patients.

    Attributes:
        patients: number of patients, those without a CTC included.
        mean: CTCs a patient.
        low: fewest.
        high: most.
        blood_ml: volume of blood that the numbers stand for.
        without_ctc: patients without a CTC.
    """

    patients: int
    mean: float
    low: float
    high: float
    blood_ml: float
    without_ctc: int

    def __str__(self) -> str:
        """Give mean and range as Table 1 prints them: ``9.9 (0-318)``."""
        return f"{self.mean:.1f} ({self.low:g}-{self.high:g})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "patients": self.patients,
            "mean": self.mean,
            "low": self.low,
            "high": self.high,
            "blood_ml": self.blood_ml,
            "without_ctc": self.without_ctc,
        }


def count_patients(
    results_by_patient: Mapping[str, Iterable[FieldResult]],
    blood_ml: float | Mapping[str, float] = PAPER_BLOOD_ML,
) -> list[PatientCount]:
    """Add up the fields of each patient.

    Args:
        results_by_patient: patient -> results of all fields, of one slide or several; the fields do not overlap.
        blood_ml: volume of each patient's sample in mL, one for all or by patient.

    Returns:
        One count a patient, by name; those without a CTC have 0.

    Raises:
        ValueError: a patient without a field or without a volume, a field that comes twice.
    """
    counts = []
    for patient in sorted(results_by_patient):
        fields = list(results_by_patient[patient])
        names = [field.name for field in fields]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"patient {patient}: field {twice[0]!r} comes {names.count(twice[0])} times; its CTCs count once"
            )
        if isinstance(blood_ml, Mapping) and patient not in blood_ml:
            raise ValueError(f"`blood_ml` has no volume for patient {patient}; give it in mL")
        records = [record for field in fields for record in field.records]
        counts.append(
            PatientCount(
                patient=patient,
                ctcs=sum(field.ctc_count for field in fields),
                blood_ml=blood_ml[patient] if isinstance(blood_ml, Mapping) else blood_ml,
                fields=len(fields),
                nuclei=len(records),
                judged=sum(not record.is_rejected for record in records),
            )
        )
    return counts


def summarise_patients(counts: Sequence[PatientCount]) -> CohortCount:
    """Mean and range over patients.

    Raises:
        ValueError: no patient, or counts from different volumes of blood (see ``PatientCount.per``).
    """
    if not counts:
        raise ValueError("there is no patient to summarise; mean and range need at least one")
    volumes = sorted({count.blood_ml for count in counts})
    if len(volumes) > 1:
        listed = ", ".join(f"{volume:g}" for volume in volumes)
        raise ValueError(
            f"counts from different volumes of blood ({listed} mL) have no common mean; bring them to one by "
            "PatientCount.per"
        )
    ctcs = [count.ctcs for count in counts]
    return CohortCount(
        patients=len(counts),
        mean=math.fsum(ctcs) / len(ctcs),
        low=min(ctcs),
        high=max(ctcs),
        blood_ml=volumes[0],
        without_ctc=sum(number == 0 for number in ctcs),
    )
