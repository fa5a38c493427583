import base64
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.assemble import SetOptions
from ctc_mm.formats.labelme_folder import LabelmeFolder, convert_labelme
from ctc_mm.formats.labels import LabelRules
from ctc_mm.imaging.io import write_image

SIZE_WH = (40, 30)


def _shape(label="ctc", points=((1, 2), (5, 8)), shape_type="rectangle", group_id=None):
    return {"label": label, "points": list(map(list, points)), "shape_type": shape_type, "group_id": group_id}


class Lab:
    """A folder of a lab: images/ and labels/ side by side."""

    def __init__(self, root):
        self.root = root
        for name in ("images", "labels"):
            (root / name).mkdir()

    def image(self, name, value=7, dtype=np.uint8, size_wh=SIZE_WH):
        path = self.root / "images" / name
        write_image(path, np.full(size_wh[::-1], value, dtype))
        return path

    def label(self, name, *shapes, image_path=None, size_wh=SIZE_WH, image_data=None):
        content = {
            "version": "5.4.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": image_path or f"../images/{name}.png",
            "imageData": image_data,
            "imageHeight": size_wh[1],
            "imageWidth": size_wh[0],
        }
        path = self.root / "labels" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def convert(self, rules=None, options=None, images_root=None, **folder):
        where = LabelmeFolder(self.root / "labels", images_root or self.root, **folder)
        return convert_labelme(where, rules or LabelRules(), options or SetOptions())


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def _boxes(labelled, index=0):
    return [(cell.label, cell.box_xyxy) for cell in labelled.images[index].cells]


def test_a_field_without_cells_stays(lab):
    lab.image("a.png")
    lab.label("a")
    labelled, report = lab.convert()
    assert labelled.classes == ("CTC", "WBC")
    assert labelled.images[0].file_name == "images/a.png"
    assert (report.images, report.images_without_cells, report.kept) == (1, 1, 0)


def test_shapes_become_cells_in_order(lab):
    lab.image("a.png")
    triangle = ((10, 10), (20, 10), (10, 20))
    lab.label("a", _shape("WBCs"), _shape("tumor", triangle, "polygon"), _shape("ctc", ((20, 20), (20, 25)), "circle"))
    labelled, report = lab.convert()
    assert _boxes(labelled) == [("WBC", (1, 2, 5, 8)), ("CTC", (10, 10, 20, 20)), ("CTC", (15, 15, 25, 25))]
    assert labelled.images[0].cells[1].polygons_xy == (triangle,)
    assert report.cells == {"CTC": 2, "WBC": 1}
    assert report.skipped == {}


def test_shapes_of_one_group_are_one_cell(lab):
    lab.image("a.png")
    left, right = ((1, 1), (4, 1), (1, 4)), ((10, 10), (14, 10), (10, 14))
    lab.label(
        "a",
        _shape("ctc", left, "polygon", 3),
        _shape("wbc", ((2, 2), (9, 9)), group_id=4),
        _shape("CTCs", right, "polygon", 3),
    )
    labelled, report = lab.convert()
    assert _boxes(labelled) == [("CTC", (1, 1, 14, 14)), ("WBC", (2, 2, 9, 9))]
    assert labelled.images[0].cells[0].polygons_xy == (left, right)
    assert len(report.notes["shape joined to another one by group_id"]) == 1


def test_a_group_without_an_outline_of_every_part_has_none(lab):
    lab.image("a.png")
    lab.label("a", _shape(group_id=1), _shape("ctc", ((10, 10), (14, 10), (10, 14)), "polygon", 1))
    labelled, _ = lab.convert()
    assert _boxes(labelled) == [("CTC", (1, 2, 14, 14))]
    assert labelled.images[0].cells[0].polygons_xy == ()


def test_a_group_with_two_labels_is_refused(lab):
    lab.image("a.png")
    lab.label("a", _shape("ctc", group_id=3), _shape("wbc", group_id=3))
    with pytest.raises(
        AnnotationError, match=r"a.json: shapes\[1\]: group_id 3 holds 'WBC' here and 'CTC' at .*shapes\[0\]"
    ):
        lab.convert()


def test_ignore_regions_hold_for_every_class_and_are_never_joined(lab):
    lab.image("a.png")
    lab.label("a", _shape("__ignore__", group_id=1), _shape("__ignore__", ((20, 20), (30, 30)), group_id=1))
    labelled, report = lab.convert()
    assert _boxes(labelled) == [(None, (1, 2, 5, 8)), (None, (20, 20, 30, 30))]
    assert all(cell.is_ignore for cell in labelled.images[0].cells)
    assert (report.ignore_regions, report.images_without_cells) == (2, 1)


def test_shapes_without_area_are_counted_by_kind(lab):
    lab.image("a.png")
    lab.label(
        "a",
        _shape("whatever", ((1, 1), (2, 2)), "line"),
        _shape("ctc", ((1, 1), (2, 2), (3, 1)), "linestrip"),
        _shape("ctc", ((1, 1),), "point"),
        _shape("ctc", ((3, 3), (3, 9))),
        _shape("ctc", ((50, 3), (60, 9))),
        _shape("ctc", ((35, 3), (60, 9))),
    )
    labelled, report = lab.convert()
    assert _boxes(labelled) == [("CTC", (35, 3, 40, 9))]
    assert report.skipped_counts == {
        "shape of type line": 1,
        "shape of type linestrip": 1,
        "shape of type point": 1,
        "box without area": 1,
        "box outside the image": 1,
    }
    assert report.skipped["box without area"][0].endswith("a.json: shapes[3]: CTC")
    assert len(report.notes["box clipped at the image's edge"]) == 1


def test_unknown_labels_and_kinds_are_errors_or_counted(lab):
    lab.image("a.png")
    lab.label("a", _shape("blob"), _shape("ctc"))
    lab.image("b.png")
    lab.label("b", _shape("ctc", ((1, 1), (3, 4)), "star"))
    with pytest.raises(AnnotationError, match=r"(?s)2 problems.*a.json: shapes\[0\]: unknown label 'blob'.*'star'"):
        lab.convert()
    labelled, report = lab.convert(LabelRules(skip_unknown=True))
    assert _boxes(labelled) == [("CTC", (1, 2, 5, 8))]
    assert report.skipped_counts == {"unknown label 'blob'": 1, "unknown shape type 'star'": 1}
    assert report.images_without_cells == 1


@pytest.mark.parametrize("image_path", ["../images/a.png", "..\\images\\a.png", "images/a.png"])
def test_paths_climb_inside_the_root(lab, image_path):
    lab.image("a.png")
    lab.label("a", image_path=image_path)
    assert lab.convert()[0].images[0].file_name == "images/a.png"


def test_images_beside_their_label_files_are_named_from_the_parent_folder(lab):
    write_image(lab.root / "labels/a.png", np.zeros(SIZE_WH[::-1], np.uint8))
    lab.label("a", _shape(), image_path="a.png")
    labelled, report = lab.convert()
    assert labelled.images[0].file_name == "labels/a.png"
    assert report.skipped == {}


def test_names_are_relative_to_the_root_given(lab):
    lab.image("a.png")
    lab.image("b.png")
    lab.label("a")
    lab.label("b", image_path="b.png")
    labelled, _ = lab.convert(images_root=lab.root / "images")
    assert [image.file_name for image in labelled.images] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("image_path", "message"),
    [
        ("../../secret.png", "leads out of the images' root"),
        ("..\\..\\secret.png", "leads out of the images' root"),
        ("/etc/hostname", "is absolute"),
        ("C:\\images\\a.png", "is absolute"),
        ("../images/none.png", "no image '../images/none.png'.*put the image there"),
    ],
)
def test_images_outside_or_missing_are_refused(tmp_path, image_path, message):
    (tmp_path / "lab").mkdir()
    lab = Lab(tmp_path / "lab")
    write_image(tmp_path / "secret.png", np.zeros((30, 40), np.uint8))
    lab.label("a", image_path=image_path)
    with pytest.raises(AnnotationError, match=f"(?s)a.json: imagePath: .*{message}"):
        lab.convert()


def test_a_link_out_of_the_root_is_refused(tmp_path):
    (tmp_path / "lab").mkdir()
    lab = Lab(tmp_path / "lab")
    write_image(tmp_path / "secret.png", np.zeros((30, 40), np.uint8))
    (lab.root / "images/a.png").symlink_to(tmp_path / "secret.png")
    lab.label("a")
    with pytest.raises(AnnotationError, match="a.json: imagePath: .*leads out"):
        lab.convert()


def test_another_size_is_refused(lab):
    lab.image("a.png")
    lab.label("a", size_wh=(41, 30))
    with pytest.raises(
        AnnotationError, match="a.json: imageWidth, imageHeight: .* 41 x 30 px, but .*a.png has 40 x 30"
    ):
        lab.convert()


def test_a_truncated_image_is_refused(lab):
    path = lab.image("a.png")
    path.write_bytes(path.read_bytes()[:40])
    lab.label("a")
    with pytest.raises(ImageReadError, match="a.png"):
        lab.convert()


def test_two_files_of_one_image_are_refused(lab):
    lab.image("a.png")
    lab.label("a")
    lab.label("b", image_path="../images/a.png")
    with pytest.raises(AnnotationError, match="b.json: names the image images/a.png, as .*a.json does"):
        lab.convert()


def test_one_name_in_two_folders_is_two_images(lab):
    for patient in ("p1", "p2"):
        (lab.root / "images" / patient).mkdir()
        (lab.root / "labels" / patient).mkdir()
        lab.image(f"{patient}/a.png")
        lab.label(f"{patient}/a", image_path=f"../../images/{patient}/a.png")
    labelled, _ = lab.convert()
    assert [image.file_name for image in labelled.images] == ["images/p1/a.png", "images/p2/a.png"]
    assert len({image.group for image in labelled.images}) == 2


def test_an_empty_folder_is_refused(lab):
    with pytest.raises(AnnotationError, match="labels: no Labelme JSON file"):
        lab.convert()
    with pytest.raises(AnnotationError, match="neither a Labelme JSON file nor an image"):
        lab.convert(unlabelled_as_empty=True)


def test_images_never_labelled_are_counted_or_taken_as_empty(lab):
    lab.image("a.png")
    lab.image("b.png")
    lab.label("a", _shape())
    labelled, report = lab.convert()
    assert len(labelled.images) == 1
    assert report.skipped_counts == {"image without label file (never labelled)": 1}
    labelled, report = lab.convert(unlabelled_as_empty=True)
    assert [image.file_name for image in labelled.images] == ["images/a.png", "images/b.png"]
    assert (report.images_without_cells, report.skipped) == (1, {})


def test_the_result_in_the_folder_of_labels_is_passed_over(lab):
    lab.image("a.png")
    lab.label("a", _shape())
    out = lab.root / "labels/all.json"
    out.write_text('{"images": []}')
    assert len(lab.convert(out=out)[0].images) == 1
    with pytest.raises(AnnotationError, match="all.json: lacks the key 'shapes'"):
        lab.convert()


def _embedded(value):
    encoded = cv2.imencode(".png", np.full(SIZE_WH[::-1], value, np.uint8))[1]
    return base64.b64encode(encoded.tobytes()).decode()


def test_the_original_wins_over_the_embedded_copy(lab):
    lab.image("a.png", 4000, np.uint16)
    lab.label("a", image_data=_embedded(9))
    labelled, report = lab.convert(extract_embedded=True)
    assert labelled.images[0].file_name == "images/a.png"
    assert labelled.images[0].white_level == 4095
    assert report.notes == {}


def test_the_embedded_copy_is_written_out_only_on_demand(lab):
    lab.label("a", _shape(), image_data=_embedded(9))
    with pytest.raises(AnnotationError, match="a.json: imagePath: no image .*--extract-embedded"):
        lab.convert()
    labelled, report = lab.convert(extract_embedded=True)
    assert labelled.images[0].file_name == "embedded/a.png"
    assert (cv2.imread(str(lab.root / "embedded/a.png"), cv2.IMREAD_UNCHANGED) == 9).all()
    assert len(report.notes["original image missing, 8-bit copy in the label file written out"]) == 1


def test_exif_orientation_turns_the_image_as_labelme_does(lab):
    image = Image.fromarray(np.zeros((30, 40), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(lab.root / "images/a.jpg", exif=exif)
    # Labelme shows 30 x 40 and writes that size.
    lab.label("a", _shape(points=((1, 31), (5, 39))), image_path="../images/a.jpg", size_wh=(30, 40))
    labelled, _ = lab.convert()
    assert labelled.images[0].size_wh == (30, 40)
    assert _boxes(labelled) == [("CTC", (1, 31, 5, 39))]


def test_16_bit_images_share_one_white_level(lab):
    for name, value in (("a", 100), ("b", 3000)):
        lab.image(f"{name}.png", value, np.uint16)
        lab.label(name)
    assert [image.white_level for image in lab.convert()[0].images] == [4095, 4095]


def test_one_class_is_enough(lab):
    lab.image("a.png")
    lab.label("a", _shape("ctc"), _shape("wbc"))
    assert lab.convert(LabelRules(classes=("CTC",), skip_unknown=True))[0].classes == ("CTC",)
    with pytest.raises(AnnotationError, match="'WBC', which --classes CTC does not list"):
        lab.convert(LabelRules(classes=("CTC",)))


def test_a_root_that_is_no_folder_is_named(lab):
    lab.image("a.png")
    lab.label("a", _shape())
    with pytest.raises(AnnotationError, match="nowhere is not a folder; check the path"):
        lab.convert(images_root=lab.root / "nowhere")
