"""Seeded synthetic images with exact truth; no claim about real cells follows from them."""

from ctc_mm.phantoms.brightfield import BrightfieldField, generate_field
from ctc_mm.phantoms.brightfield_config import CLASS_NAMES, BrightfieldPhantomConfig, CellPopulation
from ctc_mm.phantoms.cell_shapes import ObjectTraits
from ctc_mm.phantoms.labelme_set import SplitSummary, write_labelme_set

__all__ = [
    "CLASS_NAMES",
    "BrightfieldField",
    "BrightfieldPhantomConfig",
    "CellPopulation",
    "ObjectTraits",
    "SplitSummary",
    "generate_field",
    "write_labelme_set",
]
