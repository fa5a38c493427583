"""Seeded synthetic images with exact truth; no claim about real cells follows from them."""

from ctc_mm.phantoms.brightfield import BrightfieldField, generate_field
from ctc_mm.phantoms.brightfield_config import CLASS_NAMES, BrightfieldPhantomConfig, CellPopulation
from ctc_mm.phantoms.brightfield_slide import write_brightfield_slide
from ctc_mm.phantoms.cell_shapes import ObjectTraits
from ctc_mm.phantoms.deparray import DEPArrayCell, DEPArrayPatient, generate_patients
from ctc_mm.phantoms.deparray_config import DEPArrayPhantomConfig
from ctc_mm.phantoms.deparray_export import write_deparray_export
from ctc_mm.phantoms.imfish import ImFISHField, generate_imfish_field
from ctc_mm.phantoms.imfish_config import (
    IMFISH_CHANNELS,
    IMFISH_POPULATIONS,
    ImFISHPhantomConfig,
    NucleusPopulation,
)
from ctc_mm.phantoms.imfish_slide import write_imfish_fields, write_imfish_slide
from ctc_mm.phantoms.imfish_truth import ImFISHTruth
from ctc_mm.phantoms.labelme_set import SplitSummary, write_labelme_set
from ctc_mm.phantoms.slide_set import PhantomSlide, write_slide_set

__all__ = [
    "CLASS_NAMES",
    "IMFISH_CHANNELS",
    "IMFISH_POPULATIONS",
    "BrightfieldField",
    "BrightfieldPhantomConfig",
    "CellPopulation",
    "DEPArrayCell",
    "DEPArrayPatient",
    "DEPArrayPhantomConfig",
    "ImFISHField",
    "ImFISHPhantomConfig",
    "ImFISHTruth",
    "NucleusPopulation",
    "ObjectTraits",
    "PhantomSlide",
    "SplitSummary",
    "generate_field",
    "generate_imfish_field",
    "generate_patients",
    "write_brightfield_slide",
    "write_deparray_export",
    "write_imfish_fields",
    "write_imfish_slide",
    "write_labelme_set",
    "write_slide_set",
]
