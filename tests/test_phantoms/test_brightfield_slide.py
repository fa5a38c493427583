import numpy as np
import pytest

from ctc_mm.imaging.io import open_field
from ctc_mm.phantoms import BrightfieldPhantomConfig, write_brightfield_slide

SMALL = dict(size_wh=(400, 320), config=BrightfieldPhantomConfig(um_per_px=0.4))


def test_a_blank_holds_no_cell_and_is_written_all_the_same(tmp_path):
    truth = write_brightfield_slide(tmp_path / "blank.ome.tif", ctcs=0, wbcs=0, **SMALL)
    assert len(truth.labels) == 0
    with open_field(tmp_path / "blank.ome.tif") as field:
        assert (field.size_wh, field.um_per_px, field.channels) == ((400, 320), 0.4, ("bright-field",))
        assert np.array_equal(field.read()[0], truth.image)


def test_the_numbers_asked_for_are_on_it(tmp_path):
    truth = write_brightfield_slide(tmp_path / "a.ome.tif", ctcs=5, wbcs=9, debris=7, seed=3, **SMALL)
    assert np.bincount(truth.labels).tolist() == [5, 9]
    assert len(np.unique(truth.instances)) == 15


def test_same_arguments_same_bytes_and_another_seed_other_ones(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_brightfield_slide(tmp_path / name, ctcs=2, wbcs=3, seed=seed, **SMALL)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Received: -1, 3, 0, 0"):
        write_brightfield_slide(tmp_path / "a.tif", ctcs=-1, wbcs=3, **SMALL)
    with pytest.raises(ValueError, match=r"of 600 cells find no room on 400 x 320 px; give fewer cells"):
        write_brightfield_slide(tmp_path / "a.tif", ctcs=300, wbcs=300, **SMALL)
    assert list(tmp_path.iterdir()) == []
