import csv

import pytest

from ctc_mm.imaging.io import open_field
from ctc_mm.phantoms import BrightfieldPhantomConfig, PhantomSlide, write_slide_set

SIZE_WH, CONFIG = (320, 240), BrightfieldPhantomConfig(um_per_px=0.5)
SLIDES = (
    PhantomSlide("blank", 0, 4, role="blank"),
    PhantomSlide("spiked", 3, 4, role="spike_in", spiked=4),
    PhantomSlide("p1_a", 1, 5, patient="P1", volume_ml=0.5),
)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_no_slide_is_an_empty_table(tmp_path):
    assert rows_of(write_slide_set(tmp_path, [], SIZE_WH)) == []


def test_slides_table_and_truth(tmp_path):
    table = write_slide_set(tmp_path, SLIDES, SIZE_WH, CONFIG)
    rows = rows_of(table)
    assert [row["slide"] for row in rows] == ["blank.ome.tif", "spiked.ome.tif", "p1_a.ome.tif"]
    assert rows[1] == {
        "slide": "spiked.ome.tif", "name": "spiked", "patient": "", "role": "spike_in", "volume_ml": "1", "spiked": "4",
    }  # fmt: skip
    assert (rows[2]["patient"], rows[2]["volume_ml"], rows[2]["spiked"]) == ("P1", "0.5", "")
    assert [(row["name"], row["ctcs"]) for row in rows_of(tmp_path / "truth.csv")] == [
        ("blank", "0"), ("spiked", "3"), ("p1_a", "1"),
    ]  # fmt: skip
    with open_field(tmp_path / "p1_a.ome.tif") as field:
        assert (field.size_wh, field.um_per_px) == (SIZE_WH, 0.5)


def test_a_slide_is_the_same_in_another_set(tmp_path):
    write_slide_set(tmp_path / "a", SLIDES, SIZE_WH, CONFIG, seed=7)
    write_slide_set(tmp_path / "b", SLIDES[1:2], SIZE_WH, CONFIG, seed=7)
    file = "spiked.ome.tif"
    assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    write_slide_set(tmp_path / "c", SLIDES[1:2], SIZE_WH, CONFIG, seed=8)
    assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()


def test_names_are_different(tmp_path):
    with pytest.raises(ValueError, match="different names"):
        write_slide_set(tmp_path, [SLIDES[0], SLIDES[0]], SIZE_WH)
