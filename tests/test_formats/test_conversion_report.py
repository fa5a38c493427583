import pytest

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.report import ConversionReport, gather, no_progress
from ctc_mm.structures import CellBox, LabelledImage, LabelledSet


def test_an_empty_report_says_nothing_was_kept():
    text = str(ConversionReport())
    assert "images kept: 0 (without cells: 0)" in text
    assert "left out: 0" in text


def test_counts_come_from_the_set():
    report = ConversionReport()
    cells = (CellBox((0, 0, 1, 1), "WBC"), CellBox((0, 0, 2, 2), "CTC", is_ignore=True))
    report.count(LabelledSet(("CTC", "WBC"), (LabelledImage("a.png", (4, 4), cells), LabelledImage("b.png", (4, 4)))))
    assert (report.images, report.images_without_cells, report.kept, report.ignore_regions) == (2, 1, 1, 1)
    assert report.cells == {"CTC": 0, "WBC": 1}


def test_places_are_printed_up_to_ten():
    report = ConversionReport()
    for index in range(12):
        report.skip("box without area", f"a.xml: object[{index}]")
    assert report.skipped_counts == {"box without area": 12}
    assert "box without area: 12 (a.xml: object[0]; " in str(report)
    assert "and 2 more" in str(report)
    assert "object[10]" not in str(report)


def _refuse_odd(number):
    if number % 2:
        raise AnnotationError(f"{number} is odd")
    return number * 10


def test_gather_gives_results_in_order():
    assert gather([], _refuse_odd, no_progress, "") == []
    assert gather([4, 2], _refuse_odd, no_progress, "") == [40, 20]


def test_gather_raises_one_error_as_it_is_and_lists_several():
    error = ImageReadError("a.png: truncated")

    def fail(_):
        raise error

    with pytest.raises(ImageReadError) as caught:
        gather([1], fail, no_progress, "")
    assert caught.value is error
    with pytest.raises(AnnotationError, match=r"2 problems.*\n- 1 is odd\n- 3 is odd"):
        gather([1, 2, 3], _refuse_odd, no_progress, "")
    with pytest.raises(AnnotationError, match="and 5 more"):
        gather(range(1, 50, 2), _refuse_odd, no_progress, "")


def test_gather_lets_bugs_through():
    with pytest.raises(ZeroDivisionError):
        gather([0], lambda number: 1 / number, no_progress, "")
