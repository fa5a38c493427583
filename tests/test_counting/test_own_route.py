"""The route of docs/guides/own_route.md, as it stands there."""

import re

import cv2
import numpy as np
import pytest

from ctc_mm.counting.count_card import read_card
from ctc_mm.counting.route import RouteSpec
from ctc_mm.counting.run import count_slides


@pytest.fixture
def spots(repo, tmp_path, monkeypatch):
    """The example as a module, and a slide with three spots, one of them over a seam of tiles."""
    (code,) = re.findall(r"```python\n(.*?)```", (repo / "docs/guides/own_route.md").read_text(), flags=re.DOTALL)
    (tmp_path / "spots_of_the_guide.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    image = np.full((300, 700), 20, np.uint8)
    for x, y in ((30, 40), (250, 100), (600, 280)):
        image[y : y + 10, x : x + 12] = 190
    cv2.imwrite(str(tmp_path / "slide.png"), image)
    return tmp_path


@pytest.mark.parametrize("tile_px", [256, 512, 1024])
def test_example_counts_and_tiles_change_nothing(spots, tile_px):
    route = RouteSpec("spots_of_the_guide:BrightSpots", {"above": 180, "tile_px": tile_px, "threads": 2})
    result = count_slides(spots / "slide.png", route, spots / "out")
    assert result.is_complete
    card = read_card(spots / "out" / "slide" / "count.json")
    assert (card["ctc"]["count"], card["settings"]) == (3, {"route": "spots", "above": 180})
    rows = (spots / "out" / "slide" / "detections.csv").read_text().splitlines()[1:]
    assert [[float(value) for value in row.split(",")[3:7]] for row in rows] == [
        [30, 40, 42, 50], [250, 100, 262, 110], [600, 280, 612, 290],
    ]  # fmt: skip


def test_other_tiles_do_not_count_anew(spots):
    for tile_px, kept in ((256, False), (512, True)):
        route = RouteSpec("spots_of_the_guide:BrightSpots", {"above": 180, "tile_px": tile_px})
        (slide,) = count_slides(spots / "slide.png", route, spots / "out").slides
        assert slide.kept is kept
