"""Counts made up from numbers alone, for tests of what is written from them."""

from pathlib import Path

from ctc_mm.counting.count_card import make_card
from ctc_mm.counting.records import AnalysedArea, CountedCell, SlideCount, SlideSpec, in_order
from ctc_mm.imaging.field_list import FieldSource

CLASSES = ("CTC", "WBC", "unidentified")


def cells_of(ctc=0, wbc=0, unidentified=0, diameter_um=12.0):
    """Cells in rows of boxes of 20 px, a row a class."""
    numbers = zip(CLASSES, (ctc, wbc, unidentified), strict=True)
    return in_order(
        [
            CountedCell(
                (30.0 * place, 40.0 * row, 30.0 * place + 20, 40.0 * row + 20),
                name,
                0.9,
                diameter_um,
                (),
                {"window": 0},
            )
            for row, (name, number) in enumerate(numbers)
            for place in range(number)
        ]
    )


def count_of(cells=(), *, name="slide", path=None, area=None, model=None, route="detect", definition="bright", **spec):
    """A count of a slide of 2000 x 1000 px at 0.5 um per px."""
    file = Path(path or f"{name}.tif")
    return SlideCount(
        spec=SlideSpec(name, FieldSource(name, file.name, {"": file}), **spec),
        size_wh=(2000, 1000),
        um_per_px=0.5,
        um_per_px_source="file",
        channels=("grey",),
        route=route,
        definition=definition,
        target="CTC",
        classes=CLASSES,
        cells=tuple(cells),
        thresholds={"score": {"CTC": 0.4}},
        settings={"doubt": 0.5},
        model=model,
        area=area or AnalysedArea(2_000_000),
    )


def card_of(ctc=0, *, name, unidentified=0, wbc=0, performance=None, **keywords):
    """The card of such a count."""
    return make_card(count_of(cells_of(ctc, wbc, unidentified), name=name, **keywords), performance=performance)
