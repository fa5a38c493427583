import numpy as np
import pytest

from ctc_mm.imaging.scale_bar import choose_scale_bar, draw_scale_bar, scale_bar_size_wh


@pytest.mark.parametrize(
    ("width", "zoom", "um_per_px", "caption", "drawn_px"),
    [
        (1000, 1, 0.25, "50 µm", 200),
        (1000, 2, 0.25, "20 µm", 160),
        (1392, 2, 0.645, "100 µm", 310),
        (1000, 4, 0.1, "5 µm", 200),
        (1000, 0.5, 0.5, "200 µm", 200),
        (4000, 1, None, "1000 px", 1000),
        (800, 1, 1.0, "200 µm", 200),  # exactly a quarter, in spite of rounding
        (12, 12, 0.3, "0.05 µm", 2),
    ],
)
def test_longest_round_length_in_a_quarter_of_the_picture(width, zoom, um_per_px, caption, drawn_px):
    bar = choose_scale_bar(width, zoom, um_per_px)
    assert (bar.caption, bar.drawn_px) == (caption, drawn_px)


def test_no_bar_shorter_than_a_pixel():
    assert choose_scale_bar(12, 12, None) is None


def test_bar_is_drawn_in_its_length_and_room():
    bar = choose_scale_bar(1000, 1, 0.25)
    canvas = np.full((60, 300, 3), 255, np.uint8)
    draw_scale_bar(canvas, bar, (30, 10), 16)
    width, height = scale_bar_size_wh(bar, 16)
    dark = (canvas < 128).all(axis=2)
    assert dark[10, :].sum() == bar.drawn_px == 200
    assert dark[10, 30:230].all()
    ys, xs = np.nonzero(dark)
    assert ys.max() < 10 + height
    assert xs.max() < 30 + width
    assert ys.max() > 20  # the caption
