"""Corrected cells come back as labels: what a person did is counted, what was cut shows what the slide shows."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbers_counts import CLASSES, count_of

from ctc_mm.counting.count_card import make_card, write_card
from ctc_mm.counting.exchange.coco import write_cells_coco
from ctc_mm.counting.exchange.corrected import read_corrected
from ctc_mm.counting.exchange.corrections import CorrectionOptions, convert_corrections
from ctc_mm.counting.exchange.counted_slides import slides_of_counts, slides_of_folder
from ctc_mm.counting.exchange.cut_windows import windows_with_cells, windows_without_cells
from ctc_mm.counting.exchange.geojson import write_geojson
from ctc_mm.counting.records import CountedCell, in_order
from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.labels import LabelRules
from ctc_mm.imaging.encode import write_image, write_ome_tiff
from ctc_mm.imaging.io import read_image
from ctc_mm.structures import CellBox

WIDTH, HEIGHT = 600, 400
OUTLINE = ((310.0, 100.0), (340.0, 110.5), (325.25, 131.0))


def counted(path, name="s1", **keywords):
    cells = [
        CountedCell((20.0, 30.0, 50.5, 58.25), "CTC", 0.9, 15.0, (), {"window": 1}),
        CountedCell((310.0, 100.0, 340.0, 131.0), "CTC", 0.8, 15.0, (), {"window": 2}, (OUTLINE,)),
        CountedCell((200.0, 200.0, 221.0, 222.0), "WBC", 0.9, 10.0, (), {"window": 2}),
        CountedCell((500.0, 300.0, 530.0, 330.0), "unidentified", 0.3, 15.0, (), {"window": 4}),
    ]
    count = count_of(in_order(cells), name=name, path=path, patient="P1", **keywords)
    return type(count)(**{**vars(count), "size_wh": (WIDTH, HEIGHT)})


@pytest.fixture
def lab(tmp_path):
    """A counted slide as tools/count.py leaves it: its results, and the slide itself."""
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8)
    write_image(tmp_path / "slides/s1.png", pixels)
    count = counted(tmp_path / "slides/s1.png")
    folder = tmp_path / "out/s1"
    write_card(folder / "count.json", make_card(count))
    write_geojson(folder / "cells.geojson", count)
    write_cells_coco(folder / "cells.coco.json", count)
    return tmp_path


def features_of(lab):
    return json.loads((lab / "out/s1/cells.geojson").read_text())["features"]


def as_qupath(features, as_list=False):
    """As QuPath exports: coordinates to 1/100 px, keys of its own, a collection or a bare list."""

    def rounded(value):
        return [rounded(one) for one in value] if isinstance(value, list) else round(value, 2)

    for feature in features:
        feature["geometry"]["coordinates"] = rounded(feature["geometry"]["coordinates"])
        feature["properties"].pop("isLocked", None)
    return features if as_list else {"type": "FeatureCollection", "features": features}


def drawn(box_xyxy, name=None, kind="Polygon"):
    """An object that a person drew in QuPath."""
    x0, y0, x1, y1 = box_xyxy
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    coordinates = {"Polygon": [ring], "MultiPolygon": [[ring]], "Point": ring[0], "LineString": ring[:2]}[kind]
    properties = {"objectType": "annotation"} | ({"classification": {"name": name, "color": [1, 2, 3]}} if name else {})
    return {"type": "Feature", "id": "b0c1ff", "geometry": {"type": kind, "coordinates": coordinates},
            "properties": properties}  # fmt: skip


def convert(lab, content, name="s1.geojson", rules=None, **options):
    (lab / name).write_text(json.dumps(content))
    slides = slides_of_counts([lab / "out"])
    return convert_corrections(
        [lab / name], slides, lab / "labels", CorrectionOptions(rules or LabelRules(), **options)
    )


def notes_of(report):
    return {remark: len(places) for remark, places in report.notes.items()}


@pytest.mark.parametrize("as_list", [False, True])
def test_uncorrected_cells_come_back_as_they_went(lab, as_list):
    labelled, report = convert(lab, as_qupath(features_of(lab), as_list))
    assert labelled.classes == ("CTC", "WBC")
    image = labelled.images[0]
    assert (image.file_name, image.size_wh, image.group, image.um_per_px) == ("s1.png", (WIDTH, HEIGHT), "P1", 0.5)
    assert [cell.label for cell in image.cells] == ["CTC", "CTC", "WBC", None]
    assert image.cells[0] == CellBox((20.0, 30.0, 50.5, 58.25), "CTC")
    assert image.cells[1].polygons_xy == (OUTLINE,)
    assert image.cells[3].is_ignore  # unidentified still: neither cell nor background
    assert report.cells == {"CTC": 2, "WBC": 1}
    assert notes_of(report)["cell left as it was counted"] == 4


def test_all_removed_leaves_a_field_without_cells(lab):
    labelled, report = convert(lab, as_qupath([]))
    assert labelled.images[0].cells == ()
    assert report.images_without_cells == 1
    assert notes_of(report) == {
        "cell removed by hand: CTC": 2, "cell removed by hand: WBC": 1, "cell removed by hand: unidentified": 1
    }  # fmt: skip


def test_what_a_person_changed_is_counted(lab):
    features = features_of(lab)
    del features[0]  # a CTC that was none
    features[-1]["properties"]["classification"] = {"name": "CTC"}
    ring = features[1]["geometry"]["coordinates"][0]  # the WBC is moved by 5 px
    features[1]["geometry"]["coordinates"] = [[[x + 5, y] for x, y in ring]]
    features.append(drawn((400, 40, 430, 70), "WBC"))
    labelled, report = convert(lab, as_qupath(features))
    assert notes_of(report) == {
        "cell removed by hand: CTC": 1, "class changed by hand: unidentified to CTC": 1,
        "cell moved or redrawn by hand": 1, "cell added by hand: WBC": 1, "cell left as it was counted": 1,
    }  # fmt: skip
    assert report.cells == {"CTC": 2, "WBC": 2}
    assert labelled.images[0].cells[1].box_xyxy == (205.0, 200.0, 226.0, 222.0)


def test_programs_that_number_anew_are_matched_by_place(lab):
    content = json.loads((lab / "out/s1/cells.coco.json").read_text())
    content["annotations"].reverse()
    content["annotations"] = [
        {**one, "id": 100 + k, "category_id": 1} for k, one in enumerate(content["annotations"][:-1])
    ]
    labelled, report = convert(lab, content, "corrected.json")
    assert notes_of(report) == {
        "cell removed by hand: CTC": 1, "cell left as it was counted": 1, "class changed by hand: WBC to CTC": 1,
        "class changed by hand: unidentified to CTC": 1,
    }  # fmt: skip
    assert report.cells == {"CTC": 3, "WBC": 0}
    assert labelled.classes == ("CTC", "WBC")


def test_coco_survives_an_editor_that_keeps_the_image_name_alone(lab):
    content = json.loads((lab / "out/s1/cells.coco.json").read_text())
    del content["info"]
    content["images"][0]["file_name"] = "uploads/s1.png"
    _, report = convert(lab, content, "instances_default.json")
    assert notes_of(report)["cell left as it was counted"] == 4


@pytest.mark.parametrize("kind", ["Point", "LineString"])
def test_objects_without_an_area_are_left_out_and_counted(lab, kind):
    _, report = convert(lab, as_qupath([drawn((5, 5, 9, 9), "CTC", kind)]))
    assert report.skipped_counts == {"object without an area (point or line)": 1}


def test_cells_at_and_beyond_the_edge(lab):
    cells = [drawn((-4, 10, 26, 40), "CTC"), drawn((700, 10, 720, 30), "CTC"), drawn((580, 380, 600.004, 400), "WBC")]
    labelled, report = convert(lab, as_qupath(cells))
    assert [cell.box_xyxy for cell in labelled.images[0].cells] == [(0, 10, 26, 40), (580, 380, 600, 400)]
    assert report.skipped_counts == {"cell outside the slide": 1}
    assert notes_of(report)["cell cut off at the slide's edge"] == 1


def test_pieces_holes_and_derived_classes_of_qupath(tmp_path):
    ring = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
    hole = [[2, 2], [4, 2], [4, 4], [2, 2]]
    far = [[20, 5], [30, 5], [25, 15], [20, 5]]
    feature = drawn((0, 0, 1, 1), "CTC")
    feature["geometry"] = {"type": "MultiPolygon", "coordinates": [[ring, hole], [far]]}
    feature["properties"]["classification"] = {"names": ["Tumor", "Positive"]}
    (tmp_path / "a.geojson").write_text(json.dumps(feature))
    (cell,) = read_corrected(tmp_path / "a.geojson")[0].cells
    assert (cell.box_xyxy, cell.label, len(cell.polygons_xy)) == ((0, 0, 30, 15), "Tumor: Positive", 2)


def test_cells_inside_a_drawn_region_are_found(lab):
    region = drawn((0, 0, 500, 300), "Region*")
    region["properties"]["childObjects"] = features_of(lab)[:2]
    region["properties"]["measurements"] = {"Mean": "NaN"}  # as QuPath writes it
    root = {"type": "Feature", "geometry": None, "properties": {"objectType": "root"}}
    _, report = convert(lab, as_qupath([region]) | {"features": [region, root]}, rules=LabelRules(skip_unknown=True))
    assert report.kept == 2
    assert report.skipped_counts == {"unknown label": 1, "object without an area (point or line)": 1}


def test_an_object_that_is_there_twice_is_one_cell(lab):
    features = features_of(lab)
    labelled, report = convert(lab, {"type": "FeatureCollection", "features": [*features, features[0], features[1]]})
    assert len([cell for cell in labelled.images[0].cells if not cell.is_ignore]) == 3
    assert {reason: len(places) for reason, places in report.skipped.items()} == {"object that is there twice": 2}
    assert not any("added" in note for note in notes_of(report))


def test_one_outline_in_two_classes_is_refused(lab):
    features = features_of(lab)
    features.append(json.loads(json.dumps(features[0])))
    features[-1]["properties"]["classification"] = {"name": "WBC"}
    with pytest.raises(
        AnnotationError, match=r"features\[4\]: is 'WBC', and the same outline is 'CTC' at .*features\[0\]"
    ):
        convert(lab, {"type": "FeatureCollection", "features": features})


def test_labels_can_be_mapped_and_unknown_ones_left_out(lab):
    features = [drawn((5, 5, 30, 30), "Tumor: Positive"), drawn((60, 5, 90, 30), "Region*"), *features_of(lab)[-1:]]
    rules = LabelRules({"tumor: positive": "CTC", "unidentified": "WBC"}, None, skip_unknown=True)
    _, report = convert(lab, as_qupath(features), rules=rules)
    assert report.cells == {"CTC": 1, "WBC": 1}
    assert report.skipped_counts == {"unknown label": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"type": "FeatureCollection", "features": [drawn((5, 5, 9, 9))]}, "object without a class"),
        ({"type": "FeatureCollection", "features": [drawn((5, 5, 9, 9), "Stroma")]}, "unknown label 'Stroma'"),
        ({"type": "Topology"}, "neither GeoJSON"),
        ({"type": "FeatureCollection"}, "lacks the key 'features'"),
        (
            [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}],
            "at least 3 points",
        ),
        ([{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": []}}], "at least 3 points"),
        ([{"type": "Feature", "geometry": {"type": "Circle", "coordinates": [1]}}], "'Circle' is not read"),
        (
            [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, "x"], [2, 2]]]}}],
            "finite number",
        ),
    ],
)
def test_files_that_cannot_be_read(lab, content, message):
    with pytest.raises(AnnotationError, match=message):
        convert(lab, content)


def test_labels_of_a_shrunken_image_are_refused(lab):
    content = json.loads((lab / "out/s1/cells.coco.json").read_text())
    content["images"][0] |= {"width": 300, "height": 200}
    content["annotations"] = []
    with pytest.raises(AnnotationError, match="300 x 200 px, slide s1 is 600 x 400 px; export"):
        convert(lab, content, "corrected.json")


def test_file_of_another_slide(lab):
    with pytest.raises(AnnotationError, match=r"is of none of the slides \(s1\)"):
        convert(lab, as_qupath([drawn((5, 5, 9, 9), "CTC")]), "other.geojson")
    features = features_of(lab)
    features[0]["properties"]["metadata"]["ctc_mm_slide"] = "s2"
    with pytest.raises(AnnotationError, match="cells of several slides"):
        convert(lab, as_qupath(features))


def test_one_slide_corrected_twice(lab):
    for name in ("s1.geojson", "s1.png.geojson"):
        (lab / name).write_text(json.dumps(as_qupath(features_of(lab))))
    files = [lab / "s1.geojson", lab / "s1.png.geojson"]
    with pytest.raises(AnnotationError, match="are both of slide s1"):
        convert_corrections(files, slides_of_counts([lab / "out"]), lab / "labels", CorrectionOptions())


def test_slide_that_has_moved_is_found_again(lab):
    (lab / "slides").rename(lab / "archive")
    with pytest.raises(AnnotationError, match=r"give the folder that it lies in now \(--images\)"):
        slides_of_counts([lab / "out"])
    assert slides_of_counts([lab / "out"], lab / "archive")[0].source.paths[""] == lab / "archive/s1.png"
    with pytest.raises(AnnotationError, match=r"holds no count.json"):
        slides_of_counts([lab / "archive"])


def test_slides_that_were_never_counted(lab):
    (lab / "s1.png.geojson").write_text(json.dumps(as_qupath([drawn((5, 5, 30, 30), "ctc")])))
    slides = slides_of_folder(lab / "slides", 0.25)
    labelled, report = convert_corrections([lab / "s1.png.geojson"], slides, lab / "labels", CorrectionOptions())
    assert labelled.images[0].um_per_px == 0.25
    assert report.cells == {"CTC": 1, "WBC": 0}


def test_windows_show_the_slide_and_every_cell_whole(lab):
    labelled, report = convert(lab, as_qupath(features_of(lab)), cut_px=100, blanks=1)
    slide = read_image(lab / "slides/s1.png")
    for image in labelled.images:
        x0, y0 = image.origin_xy
        pixels = read_image(lab / "labels/images" / image.file_name)
        assert np.array_equal(pixels, slide[y0 : y0 + 100, x0 : x0 + 100])
        assert (image.group, image.channel, image.white_level, image.um_per_px) == ("P1", None, 255, 0.5)
    whole = {
        (cell.box_xyxy[0] + image.origin_xy[0], cell.box_xyxy[1] + image.origin_xy[1], cell.label)
        for image in labelled.images
        for cell in image.cells
        if not cell.is_ignore
    }
    assert whole == {(20.0, 30.0, "CTC"), (310.0, 100.0, "CTC"), (200.0, 200.0, "WBC")}
    assert report.images_without_cells >= 3


def test_cells_in_several_windows_are_told(lab):
    row = [drawn((x, 100, x + 30, 130), "CTC") for x in range(10, 500, 40)]
    labelled, report = convert(lab, as_qupath(row), cut_px=150, blanks=0)
    boxes = sum(not cell.is_ignore for image in labelled.images for cell in image.cells)
    assert boxes == report.kept > 13
    (told,) = report.notes["slide with cells that several windows show; each window's are counted"]
    assert told == f"s1: {boxes} boxes in {len(labelled.images)} windows, of 13 cells"
    assert not any("several windows" in note for note in convert(lab, as_qupath(row[:1]), cut_px=150)[1].notes)


def test_windows_of_a_slide_without_cells_teach_what_is_none(lab):
    labelled, report = convert(lab, as_qupath([]), cut_px=128, blanks=3)
    assert len(labelled.images) == 3
    assert report.images_without_cells == 3


def test_slide_smaller_than_a_window_is_one_field(lab):
    labelled, _ = convert(lab, as_qupath(features_of(lab)), cut_px=4000, blanks=0)
    assert [image.size_wh for image in labelled.images] == [(WIDTH, HEIGHT)]
    assert len(labelled.images[0].cells) == 4


def test_cell_larger_than_a_window_is_left_out_and_counted(lab):
    cells = as_qupath([drawn((10, 10, 90, 40), "CTC"), drawn((200, 200, 220, 220), "CTC")])
    _, report = convert(lab, cells, cut_px=64)
    assert report.skipped_counts == {"cell larger than a window": 1}


def test_windows_of_several_channels_need_one_to_be_chosen(tmp_path):
    planes = np.random.default_rng(1).integers(0, 4000, (2, HEIGHT, WIDTH), dtype=np.uint16)
    write_ome_tiff(tmp_path / "slides/s1.ome.tif", planes, ["dapi", "cd45"])
    count = counted(tmp_path / "slides/s1.ome.tif")
    write_card(tmp_path / "out/s1/count.json", make_card(count))
    cells = as_qupath([drawn((20, 30, 50, 60), "CTC")])
    with pytest.raises(ImageReadError, match=r"has the channels dapi, cd45; say which one is cut \(--channel\)"):
        convert(tmp_path, cells, cut_px=64)
    labelled, report = convert(tmp_path, cells, cut_px=64, blanks=0, channel="cd45")
    image = labelled.images[0]
    x0, y0 = image.origin_xy
    assert (image.channel, image.white_level) == ("cd45", 4095)
    pixels = read_image(tmp_path / "labels/images" / image.file_name)
    assert np.array_equal(pixels, planes[1, y0 : y0 + 64, x0 : x0 + 64])
    assert "slide without a counted file beside it: changes are not told" in report.notes


def test_same_corrections_same_windows(lab):
    one, other = (convert(lab, as_qupath(features_of(lab)), cut_px=100, seed=seed)[0] for seed in (4, 4))
    assert one == other
    assert one != convert(lab, as_qupath(features_of(lab)), cut_px=100, seed=5)[0]


@pytest.mark.parametrize("options", [{"cut_px": 0}, {"blanks": -1}, {"blanks": float("nan")}, {"seed": -2}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match="Received"):
        CorrectionOptions(**options)


boxes_of_a_slide = st.lists(
    st.tuples(st.floats(0, 270), st.floats(0, 170), st.floats(1, 29), st.floats(1, 29)).map(
        lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(boxes=boxes_of_a_slide, window_px=st.integers(31, 400), seed=st.integers(0, 9))
def test_every_cell_is_whole_in_a_window_inside_the_slide(boxes, window_px, seed):
    array = np.array(boxes, np.float64).reshape(-1, 4)
    size_wh = np.array([300, 200])
    window = np.minimum(window_px, size_wh)
    origins, too_large = windows_with_cells(array, (300, 200), window_px, seed, "slide")
    blanks = windows_without_cells(array, (300, 200), window_px, 3, seed, "slide")
    for origin in (*origins, *blanks):
        assert (np.array(origin) >= 0).all()
        assert (origin + window <= size_wh).all()
    assert too_large == []
    for box in array:
        assert any((box[:2] >= origin).all() and (box[2:] <= origin + window).all() for origin in origins)
        assert all((box[2:] <= origin).any() or (box[:2] >= origin + window).any() for origin in blanks)


def test_class_names_of_the_count_mean_themselves(lab):
    assert slides_of_counts([lab / "out"])[0].classes == CLASSES[:2]
    assert read_corrected(lab / "out/s1/cells.geojson")[0].slide == "s1"
