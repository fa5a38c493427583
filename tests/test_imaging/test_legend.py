import numpy as np
import pytest

from ctc_mm.imaging.legend import LEAST_WIDTH_PX, LegendEntry, add_legend
from ctc_mm.imaging.overlay import LineStyle
from ctc_mm.imaging.scale_bar import ScaleBar
from ctc_mm.imaging.text import Text, draw_texts, text_width, wrap


def colours_in(image):
    return {tuple(colour) for colour in np.unique(image.reshape(-1, 3), axis=0).tolist()}


def test_small_picture_stands_in_the_middle_above_its_legend():
    picture = np.zeros((20, 30, 3), np.uint8)
    result = add_legend(picture, "title", [])
    assert result.shape[1] == LEAST_WIDTH_PX
    left = (LEAST_WIDTH_PX - 30) // 2
    assert not result[:20, left : left + 30].any()
    assert (result[:20, :left] == 255).all()
    assert (result[20:] == 0).all(axis=2).any()  # the title


def test_wide_picture_keeps_its_width():
    picture = np.full((10, 900, 3), 9, np.uint8)
    result = add_legend(picture, "title", [])
    assert result.shape[1] == 900
    assert (result[:10] == 9).all()


@pytest.mark.parametrize("kind", ["outline", "ring", "area"])
@pytest.mark.parametrize("dash", [None, (3, 3)])
def test_entry_shows_its_colour(kind, dash):
    entry = LegendEntry("word", LineStyle((11, 222, 33), dash, 2), kind)
    assert (11, 222, 33) in colours_in(add_legend(np.zeros((5, 700, 3), np.uint8), "t", [entry]))


def test_entries_go_on_in_a_new_row_where_the_first_is_full():
    entry = LegendEntry("a number of words", LineStyle((255, 0, 0)))
    heights = [add_legend(np.zeros((5, 700, 3), np.uint8), "t", [entry] * n).shape[0] for n in (1, 2, 3, 12)]
    assert heights[0] == heights[1] == heights[2] < heights[3]


def test_scale_bar_lies_under_the_right_corner_and_shortens_the_title():
    bar = ScaleBar(50, "µm", 200)
    plain = add_legend(np.zeros((5, 700, 3), np.uint8), "t", [])
    result = add_legend(np.zeros((5, 700, 3), np.uint8), "t", [], scale_bar=bar)
    dark = (result < 100).all(axis=2)
    assert dark[5:, -250:].sum() > 200 * 3
    assert not (plain[5:, -250:] < 100).any()
    title = "word " * 14
    assert add_legend(np.zeros((5, 700, 3), np.uint8), title, [], scale_bar=bar).shape[0] > result.shape[0]


def test_letters_grow_with_wide_pictures():
    small, large = (add_legend(np.zeros((5, width, 3), np.uint8), "title", []).shape[0] - 5 for width in (700, 2200))
    assert large == pytest.approx(2 * small, abs=4)


def test_same_bytes_twice():
    def make():
        return add_legend(np.zeros((5, 700, 3), np.uint8), "µ ≥ 3", [LegendEntry("a", LineStyle((1, 2, 3)))], ["b"])

    assert make().tobytes() == make().tobytes()


def test_wrapped_lines_fit_and_lose_no_word():
    words = "a caption of several words, one of them averyveryveryverylongwordindeedthatdoesnotfit"
    lines = wrap(words, 14, 120)
    assert all(text_width(line, 14) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")
    assert wrap("", 14, 120) == []
    assert wrap("wide", 14, 1) == list("wide")


def test_text_is_tied_to_its_point_and_cut_at_the_edge():
    canvas = np.zeros((40, 60, 3), np.uint8)
    draw_texts(canvas, [])
    assert not canvas.any()
    draw_texts(canvas, [Text("H", (30, 20), 20, (255, 255, 255), anchor="middle-middle")])
    ys, xs = np.nonzero(canvas[..., 0] > 127)
    assert xs.mean() == pytest.approx(30, abs=1)
    assert ys.mean() == pytest.approx(20, abs=2)
    draw_texts(canvas, [Text("cut", (50, 38), 20, (0, 255, 0), (0, 0, 9))])
    assert canvas.shape == (40, 60, 3)


def test_halo_surrounds_the_letters():
    canvas = np.full((30, 30, 3), 128, np.uint8)
    draw_texts(canvas, [Text("I", (15, 15), 20, (255, 255, 255), (0, 0, 0), "middle-middle")])
    assert (canvas == 0).all(axis=2).any()
    assert (canvas == 255).all(axis=2).any()
