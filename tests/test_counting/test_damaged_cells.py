import json

import numpy as np
import pytest
from cell_slides import spec_of, spoil_tile, write_tiled

from ctc_mm.counting.damaged_cells import (
    BETWEEN_FIELDS,
    TOUCHES_LOSS,
    drops_from,
    look_until_known,
    losses_of,
    use_as_known,
    without_lost,
)
from ctc_mm.counting.records import AnalysedArea, Drop
from ctc_mm.counting.slides import OpenSlides
from ctc_mm.counting.work_pixels import WorkPixels
from ctc_mm.errors import ImageReadError

NOTHING = {"damaged_xyxy": [], "gaps_xyxy": [], "drops": [], "fill_value": 0}
BLOCK = (256, 0, 512, 256)


@pytest.fixture
def spec(tmp_path):
    """Channel a is 100, channel b 3000; the second block of b cannot be read."""
    planes = [np.full((400, 600), value, np.uint16) for value in (100, 3000)]
    path = write_tiled(tmp_path / "two.tif", planes)
    spoil_tile(path, 1, page=1)
    return spec_of(path, channels={"a": 0, "b": 1})


def look(field, order):
    """Means of the channels, read in this order in tiles."""
    return {
        name: float(np.mean([field.read([name], region).mean() for region in ((0, 0, 512, 400), (512, 0, 600, 400))]))
        for name in order
    }


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_damage_is_filled_with_background_whichever_channel_tells_of_it(spec, order):
    with OpenSlides() as slides, slides.use(spec) as field:
        means = look_until_known(field, lambda: look(field, order))
        losses = losses_of(field)
    assert means == {"a": 100.0, "b": 3000.0}
    assert losses["damaged_xyxy"] == [list(BLOCK)]
    assert losses["fill_value"] == {"a": 100.0, "b": 3000.0}
    (drop,) = drops_from(json.loads(json.dumps(losses)))
    assert (drop.kind, drop.count, drop.area_px, drop.regions_xyxy) == ("block", 1, 65536, (BLOCK,))


def test_a_slide_without_damage_is_looked_over_once(tmp_path):
    path = write_tiled(tmp_path / "good.tif", [np.full((300, 300), 5, np.uint8)])
    looks = []
    with OpenSlides() as slides, slides.use(spec_of(path)) as field:
        look_until_known(field, lambda: looks.append(field.read().mean()))
        assert losses_of(field) == NOTHING
    assert looks == [5.0]


def test_a_slide_of_which_nothing_can_be_read_is_filled_with_0(tmp_path):
    path = write_tiled(tmp_path / "bad.tif", [np.full((256, 256), 5, np.uint8)])
    spoil_tile(path, 0)
    with OpenSlides() as slides, slides.use(spec_of(path)) as field:
        assert look_until_known(field, lambda: field.read().max()) == 0
        assert WorkPixels(field.size_wh, field.size_wh).area(losses_of(field)) == AnalysedArea(0, dropped_px=65536)


def test_another_process_reads_what_the_first_look_saw(spec):
    with OpenSlides() as slides, slides.use(spec) as field:
        look_until_known(field, lambda: look(field, "ab"))
        losses = json.loads(json.dumps(losses_of(field)))
    with OpenSlides() as slides, use_as_known(slides, spec, losses) as field:
        assert np.unique(field.read(["b"])).tolist() == [3000]
    with (
        OpenSlides() as slides,
        pytest.raises(ImageReadError, match=r"1 blocks, the first at \(256, 0, 512, 256\), .*check the disk"),
        use_as_known(slides, spec, NOTHING) as field,
    ):
        field.read(["b"])


def test_cells_beside_what_is_lost_are_left_out_and_counted():
    boxes = [(0, 0, 10, 10), (85, 50, 95, 60), (84, 50, 94, 60), (150, 150, 160, 160), (201, 150, 210, 160)]
    losses = {**NOTHING, "damaged_xyxy": [[100, 0, 200, 200]]}
    kept, drops = without_lost(boxes, lambda box: box, losses, 6)
    assert kept == [boxes[0], boxes[2]]
    assert drops == (Drop("cell", TOUCHES_LOSS, 3),)
    assert without_lost(boxes, lambda box: box, NOTHING, 6) == (boxes, ())
    assert without_lost([], lambda box: box, losses, 6) == ([], ())


def test_gaps_of_a_mosaic_are_recorded():
    class Mosaic:
        gaps_xyxy, damaged_xyxy, fill_value = ((0, 0, 10, 20), (50, 0, 60, 20)), (), 0

    (drop,) = drops_from(losses_of(Mosaic()))
    assert drop == Drop("gap", BETWEEN_FIELDS, 2, 400, ((0, 0, 10, 20), (50, 0, 60, 20)))
