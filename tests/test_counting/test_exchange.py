"""Counts as CSV, Parquet, GeoJSON and COCO: what others read is what was found."""

import csv
import json
import sys
import uuid

import numpy as np
import pytest
from numbers_counts import cells_of, count_of

from ctc_mm.counting.exchange.coco import write_cells_coco
from ctc_mm.counting.exchange.geojson import write_geojson
from ctc_mm.counting.exchange.table import COLUMNS, write_detections
from ctc_mm.counting.palette import TARGET_RGB, UNIDENTIFIED_RGB, class_colours
from ctc_mm.counting.records import CountedCell
from ctc_mm.formats.coco import read_coco

OUTLINE = ((100.25, 50.0), (120.0, 50.0), (120.0, 70.5), (100.25, 60.0))


@pytest.fixture
def count():
    cells = [
        CountedCell((100.25, 50.0, 120.0, 70.5), "CTC", 0.1 + 0.2, 11.5, ("clump", "seam"),
                    {"window": 3, "cd45": np.float32(0.5), "reason": "cep8", "checked": True}, (OUTLINE,)),
        CountedCell((200.0, 60.0, 220.0, 90.0), "unidentified", None, None, (),
                    {"window": 4, "cd45": float("nan"), "reason": None, "checked": False}),
    ]  # fmt: skip
    return count_of(cells, name="s1", patient="P1")


def test_table_of_no_cell(tmp_path):
    path = write_detections(tmp_path / "detections.csv", count_of())
    assert path.read_text() == ",".join(COLUMNS) + "\n"


def test_table_reads_back_bit_for_bit(tmp_path, count):
    rows = list(csv.DictReader(write_detections(tmp_path / "detections.csv", count).open()))
    first, second = rows
    assert list(first)[: len(COLUMNS)] == list(COLUMNS)
    assert (first["detection_id"], first["slide"], first["patient"], first["class"]) == ("1", "s1", "P1", "CTC")
    assert (float(first["score"]), float(first["x0"])) == (0.1 + 0.2, 100.25)
    assert (first["flags"], first["window"], first["checked"]) == ("clump;seam", "3", "True")
    assert (second["score"], second["diameter_um"], second["cd45"], second["reason"]) == ("", "", "", "")


def test_parquet_is_the_same_table(tmp_path, count):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an optional package")
    table = parquet.read_table(write_detections(tmp_path / "detections.parquet", count))
    assert table.column_names == [*COLUMNS, "window", "cd45", "reason", "checked"]
    first, second = table.to_pylist()
    assert (first["detection_id"], first["score"], first["checked"], first["flags"]) == (
        1,
        0.1 + 0.2,
        True,
        "clump;seam",
    )
    assert (second["score"], second["cd45"], second["reason"], second["flags"]) == (None, None, None, "")
    empty = parquet.read_table(write_detections(tmp_path / "empty.parquet", count_of()))
    assert empty.schema == table.schema.remove_metadata().empty_table().select(list(COLUMNS)).schema
    assert empty.num_rows == 0


def test_table_without_pyarrow_says_how_to_get_it(tmp_path, count, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"Parquet needs pyarrow: pip install pyarrow"):
        write_detections(tmp_path / "detections.parquet", count)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("t.xlsx", {}, r"is a \.csv or \.parquet file"),
        ("t.csv", {"score": 1}, "bear names of common columns"),
    ],
)
def test_table_refuses(tmp_path, name, columns, message):
    with pytest.raises(ValueError, match=message):
        write_detections(tmp_path / name, count_of([CountedCell((0, 0, 9, 9), "CTC", 0.9, 9.0, (), columns)]))


def test_table_refuses_cells_of_different_columns(tmp_path):
    cells = [CountedCell((0, 9 * k, 9, 9 * k + 9), "CTC", 0.9, 9.0, (), {f"c{k}": 1}) for k in range(2)]
    with pytest.raises(ValueError, match=r"cell 2 has the route columns \['c1'\]"):
        write_detections(tmp_path / "t.csv", count_of(cells))


def test_geojson_of_no_cell(tmp_path):
    path = write_geojson(tmp_path / "cells.geojson", count_of())
    assert json.loads(path.read_text()) == {"type": "FeatureCollection", "features": []}


def test_geojson_is_what_qupath_reads(tmp_path, count):
    features = json.loads(write_geojson(tmp_path / "cells.geojson", count).read_text())["features"]
    cell, doubtful = features
    assert cell["type"] == "Feature"
    assert str(uuid.UUID(cell["id"])) == cell["id"]  # QuPath throws away ids that are no UUIDs
    assert cell["properties"]["objectType"] == "annotation"
    assert cell["properties"]["classification"] == {"name": "CTC", "color": list(TARGET_RGB)}
    assert doubtful["properties"]["classification"]["color"] == list(UNIDENTIFIED_RGB)
    # Measurements are numbers, metadata are texts; NaN is in neither.
    assert cell["properties"]["measurements"] == {
        "detection_id": 1, "score": 0.1 + 0.2, "diameter_um": 11.5, "window": 3, "cd45": 0.5
    }  # fmt: skip
    assert doubtful["properties"]["measurements"] == {"detection_id": 2, "window": 4}
    assert cell["properties"]["metadata"] == {
        "ctc_mm_slide": "s1", "ctc_mm_id": "1", "ctc_mm_class": "CTC", "ctc_mm_flags": "clump;seam", "reason": "cep8",
        "checked": "True",
    }  # fmt: skip


def test_geojson_has_closed_outlines_and_boxes(tmp_path, count):
    features = json.loads(write_geojson(tmp_path / "cells.geojson", count).read_text())["features"]
    assert features[0]["geometry"] == {
        "type": "Polygon", "coordinates": [[[100.25, 50], [120, 50], [120, 70.5], [100.25, 60], [100.25, 50]]]
    }  # fmt: skip
    box = features[1]["geometry"]["coordinates"][0]
    assert box == [[200, 60], [200, 90], [220, 90], [220, 60], [200, 60]]


def test_cell_in_pieces_is_one_feature(tmp_path):
    pieces = (OUTLINE, tuple((x + 30, y) for x, y in OUTLINE))
    cell = CountedCell((100.25, 50.0, 150.0, 70.5), "CTC", 0.9, 9.0, (), {}, pieces)
    features = json.loads(write_geojson(tmp_path / "c.geojson", count_of([cell])).read_text())["features"]
    assert features[0]["geometry"]["type"] == "MultiPolygon"
    assert len(features[0]["geometry"]["coordinates"]) == 2


def test_geojson_can_hold_detections(tmp_path, count):
    features = json.loads(write_geojson(tmp_path / "c.geojson", count, "detection").read_text())["features"]
    assert {feature["properties"]["objectType"] for feature in features} == {"detection"}
    with pytest.raises(ValueError, match="`object_type` must be"):
        write_geojson(tmp_path / "c.geojson", count, "cell")


def test_ids_stay_when_a_slide_is_counted_again():
    from ctc_mm.counting.exchange.identity import numbered_cells

    few, more = count_of(cells_of(2)), count_of(cells_of(2, 3))
    ids, more_ids = ([identity for _, identity, _ in numbered_cells(one)] for one in (few, more))
    assert set(ids) < set(more_ids)
    assert len(set(more_ids)) == 5
    other = [identity for _, identity, _ in numbered_cells(count_of(cells_of(2), name="other"))]
    assert not set(ids) & set(other)


def test_two_cells_in_one_place_have_ids_of_their_own():
    from ctc_mm.counting.exchange.identity import numbered_cells

    cells = [CountedCell((0, 0, 9, 9), name) for name in ("CTC", "WBC")]
    assert len({identity for _, identity, _ in numbered_cells(count_of(cells))}) == 2


def test_coco_has_the_cells_under_their_ids(tmp_path, count):
    path = write_cells_coco(tmp_path / "cells.coco.json", count)
    labelled = read_coco(path)
    assert labelled.classes == ("CTC", "WBC", "unidentified")
    image = labelled.images[0]
    assert (image.file_name, image.size_wh, image.group, image.um_per_px) == ("s1.tif", (2000, 1000), "P1", 0.5)
    assert [cell.label for cell in image.cells] == ["CTC", "unidentified"]
    assert image.cells[0].box_xyxy == pytest.approx((100.25, 50.0, 120.0, 70.5))
    assert [one["id"] for one in json.loads(path.read_text())["annotations"]] == [1, 2]
    assert read_coco(write_cells_coco(tmp_path / "none.json", count_of())).images[0].cells == ()


def test_same_count_same_bytes(tmp_path, count):
    for write, name in ((write_detections, "a.csv"), (write_geojson, "a.geojson"), (write_cells_coco, "a.json")):
        assert write(tmp_path / name, count).read_bytes() == write(tmp_path / f"again_{name}", count).read_bytes()


def test_classes_keep_their_colours():
    colours = class_colours(["CTC", "WBC", "debris", "unidentified"], "CTC")
    assert (colours["CTC"], colours["unidentified"]) == (TARGET_RGB, UNIDENTIFIED_RGB)
    assert len(set(colours.values())) == 4
    assert class_colours(["RBC", "WBC"], "WBC")["WBC"] == TARGET_RGB
