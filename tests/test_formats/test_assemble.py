from dataclasses import replace
from pathlib import Path

import pytest

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.assemble import (
    Acquisition,
    Field,
    Mark,
    SetOptions,
    assemble,
    cells_of,
    clip_box,
    require_same_size,
)
from ctc_mm.formats.images import ImageFacts
from ctc_mm.formats.report import ConversionReport


def _field(name, dtype="uint8", maximum=10.0, source=None):
    return Field(name, Path(name), Path(source or name + ".json"), ImageFacts((20, 10), dtype, maximum), ())


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        ((-1, -2, 30, 40), (0, 0, 20, 10)),
        ((20, 0, 25, 5), None),
        ((-5, 0, 0, 5), None),
        ((3, 3, 3, 5), None),
    ],
)
def test_boxes_are_clipped(box, expected):
    assert clip_box(box, (20, 10)) == expected


def test_marks_become_cells_and_every_loss_is_counted():
    report = ConversionReport()
    marks = [
        Mark("p0", "CTC", (1, 1, 4, 4)),
        Mark("p1", "CTC", (5, 1, 5, 4)),
        Mark("p2", "CTC", (30, 1, 40, 4)),
        Mark("p3", "WBC", (-2, 1, 4, 12), (((-2, 1), (4, 1), (4, 12)),)),
        Mark("p4", "__ignore__", (0, 0, 3, 3)),
        Mark("p5", "WBC", (0, 0, 3, 3), is_ignore=True),
        Mark("p6", "CTC", (1, 1, 4, 4)),
    ]
    cells = cells_of(marks, (20, 10), report)
    assert [(cell.label, cell.box_xyxy, cell.is_ignore) for cell in cells] == [
        ("CTC", (1, 1, 4, 4), False),
        ("WBC", (0, 1, 4, 10), False),
        (None, (0, 0, 3, 3), True),
        ("WBC", (0, 0, 3, 3), True),
        ("CTC", (1, 1, 4, 4), False),
    ]
    assert cells[1].polygons_xy == (((0, 1), (4, 1), (4, 10)),)
    assert report.skipped == {"box without area": ["p1: CTC"], "box outside the image": ["p2: CTC"]}
    assert report.notes["box clipped at the image's edge"] == ["p3"]
    assert report.notes["same label and box as an earlier object"] == ["p6"]


def test_slivers_have_no_area_that_could_be_written():
    report = ConversionReport()
    marks = [Mark("p0", "CTC", (1, 1, 1.0001, 4)), Mark("p1", "CTC", (-5, 1, 0.0001, 4))]
    assert cells_of(marks, (20, 10), report) == ()
    assert report.skipped_counts == {"box without area": 1, "box outside the image": 1}


def test_another_size_is_refused_with_both_sizes():
    facts = ImageFacts((20, 10), "uint8", 0.0)
    require_same_size("a.json", (20, 10), facts, Path("a.png"))
    with pytest.raises(AnnotationError, match="a.json: .* 30 x 10 px, but a.png has 20 x 10 px;"):
        require_same_size("a.json", (30, 10), facts, Path("a.png"))
    with pytest.raises(AnnotationError, match="exchanged"):
        require_same_size("a.json", (10, 20), facts, Path("a.png"))


def test_8_bit_images_are_white_at_255_and_deep_ones_share_a_level():
    fields = [_field("a.png"), _field("b.png", "uint16", 300.0), _field("c.png", "uint16", 90.0)]
    other = ImageFacts((1, 1), "uint16", 3000.0)
    images = assemble("x", ("CTC",), fields, SetOptions(um_per_px=0.5, channel="BF"), [other]).images
    assert [image.white_level for image in images] == [255, 4095, 4095]
    assert {(image.um_per_px, image.channel) for image in images} == {(0.5, "BF")}


def test_a_white_level_given_must_hold_all_pixels():
    fields = [_field("b.png", "uint16", 300.0)]
    assert assemble("x", ("CTC",), fields, SetOptions(white_level=16383)).images[0].white_level == 16383
    with pytest.raises(AnnotationError, match="b.png: has a pixel of 300, above the white level 200"):
        assemble("x", ("CTC",), fields, SetOptions(white_level=200))


def test_what_the_user_says_wins_over_the_label_file_and_this_over_the_pixels():
    known = Acquisition(um_per_px=0.3, channel="DAPI", white_level=16383, group="P7")
    fields = [replace(_field("a.png", "uint16", 300.0), known=known), _field("b.png", "uint16", 400.0)]
    images = assemble("x", ("CTC",), fields, SetOptions()).images
    assert [(i.um_per_px, i.channel, i.white_level, i.group) for i in images] == [
        (0.3, "DAPI", 16383, "P7"),
        (None, None, 1023, "b"),
    ]
    options = SetOptions(um_per_px=0.5, channel="BF", white_level=4095, group_pattern="^(.)")
    images = assemble("x", ("CTC",), fields, options).images
    assert [(i.um_per_px, i.channel, i.white_level, i.group) for i in images] == [
        (0.5, "BF", 4095, "a"),
        (0.5, "BF", 4095, "b"),
    ]


def test_groups_are_stems_unless_stems_repeat():
    images = assemble("x", ("CTC",), [_field("p1/a.png"), _field("p2/a.png"), _field("p2/b.png")], SetOptions()).images
    assert [image.group for image in images] == ["p1/a", "p2/a", "b"]


def test_groups_come_from_a_pattern():
    fields = [_field("P01_a.png"), _field("P01_b.png")]
    images = assemble("x", ("CTC",), fields, SetOptions(group_pattern="(P[0-9]+)_")).images
    assert [image.group for image in images] == ["P01", "P01"]
    with pytest.raises(AnnotationError, match="P01_a.png: --group-pattern"):
        assemble("x", ("CTC",), fields, SetOptions(group_pattern="(Q[0-9]+)_"))


def test_two_label_files_of_one_image_are_refused():
    with pytest.raises(AnnotationError, match="two.json: names the image a.png, as one.json does"):
        assemble("x", ("CTC",), [_field("a.png", source="one.json"), _field("a.png", source="two.json")], SetOptions())
