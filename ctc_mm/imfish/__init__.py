"""The imFISH rule: DAPI+, CD45-, CEP8 >= 3 (paper imfish-cnn-2022)."""

from ctc_mm.imfish.classify import classify_field, classify_nuclei
from ctc_mm.imfish.patients import CohortCount, PatientCount, count_patients, summarise_patients
from ctc_mm.imfish.records import FieldResult, NucleusRecord
from ctc_mm.imfish.settings import ImFISHSettings
from ctc_mm.imfish.thresholds import ImFISHThresholds

__all__ = [
    "CohortCount",
    "FieldResult",
    "ImFISHSettings",
    "ImFISHThresholds",
    "NucleusRecord",
    "PatientCount",
    "classify_field",
    "classify_nuclei",
    "count_patients",
    "summarise_patients",
]
