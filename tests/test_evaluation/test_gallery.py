import html
import io
import re

import matplotlib.image
import numpy as np
import pytest
from cell_predictions import predictions

from ctc_mm.evaluation.gallery import draw_misjudged, find_misjudged, misjudged_html, unreadable
from ctc_mm.imaging.io import write_image


@pytest.fixture
def wrong(tmp_path):
    """Four cells called wrong of six; the image of one is missing, one is cut short."""
    image = np.arange(24 * 24, dtype=np.uint16).reshape(24, 24) * 90
    paths = [tmp_path / f"{index}.png" for index in range(6)]
    for path in paths[:4]:
        write_image(path, image)
    paths[4].write_bytes(paths[0].read_bytes()[:200])
    return predictions(
        [0, 0, 1, 1, 0, 1],
        [0.6, 0.99, 0.4, 0.9, 0.8, 0.01],
        path=[str(path) for path in paths],
        cell_id=["a", "<b>", "c", "d", "e", "f"],
        box_xyxy=[[1.5, 2, 30, 40]] + [[np.nan] * 4] * 5,
        source=["slide.tif"] * 6,
        diameter_um=[11.25] * 6,
    )


def test_nothing_wrong_is_said():
    right = predictions([1, 0], [0.9, 0.1])
    groups = find_misjudged(right, "CTC", "WBC", 10)
    assert [group.total for group in groups] == [0, 0]
    assert misjudged_html(right, groups, "title").count(">none<") == 2
    assert draw_misjudged(right, groups, "title")[:4] == b"\x89PNG"


def test_worst_come_first_false_positives_and_negatives_apart(wrong):
    positives, negatives = find_misjudged(wrong, "CTC", "WBC", 10)
    assert [wrong.cell_id[cell.index] for cell in positives.cells] == ["<b>", "e", "a"]
    assert [wrong.cell_id[cell.index] for cell in negatives.cells] == ["f", "c"]
    assert positives.heading == "WBC called CTC (false positives): 3"


def test_cells_at_the_threshold_are_called(wrong):
    positives, negatives = find_misjudged(wrong, "CTC", "WBC", 10, threshold=0.6)
    assert (positives.total, negatives.total) == (3, 2)
    positives, _ = find_misjudged(wrong, "CTC", "WBC", 10, threshold=0.61)
    assert positives.total == 2


def test_unreadable_images_are_named_and_do_not_stop_the_rest(wrong):
    groups = find_misjudged(wrong, "CTC", "WBC", 10)
    problems = unreadable(groups)
    assert len(problems) == 2
    assert "4.png: damaged or truncated" in problems[0]
    assert "5.png: no such image file" in problems[1]
    assert "no such image file" in misjudged_html(wrong, groups, "title")
    without = predictions([0], [0.9])
    assert unreadable(find_misjudged(without, "CTC", "WBC", 10)) == ["no image file is known"]


def test_a_large_set_is_bounded_in_the_picture_and_says_so(wrong):
    many = wrong.take(np.zeros(500, int))
    positives, _ = find_misjudged(many, "CTC", "WBC", 7)
    assert len(positives.cells) == 7
    assert positives.heading == "WBC called CTC (false positives): 500 (the 7 worst drawn, 493 more)"


def test_html_is_one_offline_file_with_scores_files_and_coordinates(wrong):
    text = misjudged_html(wrong, find_misjudged(wrong, "CTC", "WBC", 10), "A <title>")
    assert not re.search(r"https?:|//|<script|<link|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))
    assert text.count("data:image/png;base64,") == 5
    assert "A &lt;title&gt;" in text
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    plain = html.unescape(text)
    for expected in ("score 0.9900", "<dd>1.5, 2, 30, 40</dd>", "slide.tif", "0.png", "11.2 µm", "<dd>CTC</dd>"):
        assert expected in plain


def test_same_predictions_same_bytes(wrong):
    first, second = (find_misjudged(wrong, "CTC", "WBC", 10) for _ in range(2))
    assert draw_misjudged(wrong, first, "t") == draw_misjudged(wrong, second, "t")
    assert misjudged_html(wrong, first, "t") == misjudged_html(wrong, second, "t")


def test_picture_shows_every_thumbnail(wrong):
    groups = find_misjudged(wrong, "CTC", "WBC", 10)
    picture = matplotlib.image.imread(io.BytesIO(draw_misjudged(wrong, groups, "t")))
    # The ramp of a readable image has white in its last corner and black in its first.
    tile = picture[58 + 34 : 58 + 34 + 96, 10 : 10 + 96]
    assert tile[0, 0].max() == 0.0
    assert tile[-1, -1].min() == 1.0
