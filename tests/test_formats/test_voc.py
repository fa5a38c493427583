import numpy as np
import pytest

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.assemble import SetOptions
from ctc_mm.formats.labels import LabelRules, parse_label_map
from ctc_mm.formats.voc import convert_voc, read_split, read_voc
from ctc_mm.imaging.io import write_image

OWN = LabelRules(own_names=True)


def _object(name="RBC", box=(2, 3, 5, 8), extra=""):
    tags = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{tags}</bndbox></object>"


def _xml(*objects, filename="a.png", size="<size><width>40</width><height>30</height><depth>3</depth></size>"):
    return f"<annotation><filename>{filename}</filename>{size}{''.join(objects)}</annotation>"


class VocLab:
    """xml/ and images/ side by side."""

    def __init__(self, root):
        self.root = root
        (root / "xml").mkdir()

    def field(self, name, *objects, value=7, dtype=np.uint8, **changes):
        write_image(self.root / "images" / f"{name}.png", np.full((30, 40), value, dtype))
        self.xml(name, _xml(*objects, **{"filename": f"{name}.png"} | changes))

    def xml(self, name, text):
        path = self.root / "xml" / f"{name}.xml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def convert(self, rules=OWN, split=None):
        if split is not None:
            (self.root / "split.txt").write_text(split)
            split = self.root / "split.txt"
        return convert_voc(self.root / "xml", self.root / "images", rules, SetOptions(), split)


@pytest.fixture
def lab(tmp_path):
    return VocLab(tmp_path)


def _boxes(labelled, index=0):
    return [(cell.label, cell.box_xyxy) for cell in labelled.images[index].cells]


def test_a_field_without_cells_stays(lab):
    lab.field("a")
    lab.field("b", _object())
    labelled, report = lab.convert()
    assert labelled.images[0].cells == ()
    assert (report.images, report.images_without_cells) == (2, 1)


def test_boxes_count_from_1_and_both_ends_belong_to_them(lab):
    lab.field("a", _object(box=(1, 1, 40, 30)), _object("WBC", (2, 3, 5, 8)))
    labelled, _ = lab.convert()
    assert _boxes(labelled) == [("RBC", (0, 0, 40, 30)), ("WBC", (1, 2, 5, 8))]


def test_boxes_without_width_are_reported_and_those_over_the_edge_clipped(lab):
    lab.field(
        "a",
        _object(box=(4, 3, 4, 8)),
        _object(box=(4, 8, 9, 8)),
        _object(box=(0, 1, 45, 9)),
        _object(box=(50, 1, 60, 9)),
    )
    labelled, report = lab.convert()
    assert _boxes(labelled) == [("RBC", (0, 0, 40, 9))]
    assert report.skipped_counts == {"box without area": 2, "box outside the image": 1}
    assert report.skipped["box without area"][1].endswith("a.xml: object[1]: RBC")
    assert len(report.notes["box clipped at the image's edge"]) == 1


def test_names_are_kept_and_sorted_over_the_whole_folder(lab):
    lab.field("a", _object("WBC"))
    lab.field("b", _object("Platelets"))
    lab.field("c", _object("RBC"))
    for split in ("a\n", "b\nc\n"):
        assert lab.convert(split=split)[0].classes == ("Platelets", "RBC", "WBC")


def test_labels_map_on_top_of_the_aliases(lab):
    lab.field("a", _object("tumor"), _object("H1299"), _object("leukocyte"))
    labelled, report = lab.convert(LabelRules(parse_label_map("H1299=CTC")))
    assert labelled.classes == ("CTC", "WBC")
    assert report.cells == {"CTC": 2, "WBC": 1}


def test_an_unknown_label_is_an_error_or_counted(lab):
    lab.field("a", _object("RBC"), _object("blob"))
    rules = LabelRules(parse_label_map("RBC=RBC"))
    with pytest.raises(AnnotationError, match=r"a.xml: object\[1\]: unknown label 'blob'"):
        lab.convert(rules)
    skipping = LabelRules(parse_label_map("RBC=RBC"), skip_unknown=True)
    assert lab.convert(skipping)[1].skipped_counts == {"unknown label 'blob'": 1}


def test_difficult_objects_become_ignore_regions(lab):
    lab.field("a", _object(extra="<difficult>1</difficult>"), _object(extra="<difficult>0</difficult>"))
    labelled, report = lab.convert()
    assert [cell.is_ignore for cell in labelled.images[0].cells] == [True, False]
    assert labelled.images[0].cells[0].label == "RBC"
    assert len(report.notes["`difficult` object written as ignore region"]) == 1


def test_a_split_chooses_and_orders_nothing(lab):
    for name in "abc":
        lab.field(name, _object())
    labelled, _ = lab.convert(split="c 1\na -1\n\n")
    assert [image.file_name for image in labelled.images] == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("", "names no image"),
        ("a\nb\na\n", r"line 3: 'a' is there twice \(line 1\)"),
        ("a\nz\n", "split.txt: 1 of 2 names have no XML file in .*: z"),
    ],
)
def test_broken_splits_are_refused(lab, split, message):
    for name in "ab":
        lab.field(name, _object())
    with pytest.raises(AnnotationError, match=message):
        lab.convert(split=split)


def test_a_missing_split_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match="none.txt: the split cannot be read"):
        read_split(tmp_path / "none.txt")


def test_names_with_spaces_are_whole_lines(tmp_path):
    (tmp_path / "s.txt").write_text("slide 1 a\nslide 2 -1\n")
    assert read_split(tmp_path / "s.txt") == ["slide 1 a", "slide 2"]


def test_images_never_labelled_are_counted(lab):
    lab.field("a", _object())
    write_image(lab.root / "images/b.png", np.zeros((30, 40), np.uint8))
    assert lab.convert()[1].skipped_counts == {"image without label file (never labelled)": 1}
    assert lab.convert(split="a\n")[1].skipped == {}


def test_an_image_is_found_by_the_name_of_the_xml_file_too(lab):
    lab.field("a", _object(), filename="old_name.png")
    labelled, report = lab.convert()
    assert labelled.images[0].file_name == "a.png"
    assert len(report.notes["image found by the XML file's name, not by its <filename>"]) == 1


def test_one_name_in_two_folders_is_two_images(lab):
    for patient in ("p1", "p2"):
        (lab.root / "xml" / patient).mkdir()
        lab.field(f"{patient}/a", _object(), filename="a.png")
    assert [image.file_name for image in lab.convert()[0].images] == ["p1/a.png", "p2/a.png"]
    assert [image.file_name for image in lab.convert(split="p2/a")[0].images] == ["p2/a.png"]


def test_splits_of_a_deep_set_share_the_white_level(lab):
    lab.field("a", _object(), value=100, dtype=np.uint16)
    lab.field("b", _object(), value=4000, dtype=np.uint16)
    assert lab.convert(split="a\n")[0].images[0].white_level == 4095


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "haha"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
    "<annotation><filename>&b;</filename></annotation>"
)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    "<annotation><filename>&a;</filename></annotation>"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not complete XML"),
        (_xml(_object())[:-30], "not complete XML"),
        (b'<?xml version="1.0" encoding="utf-8"?><annotation>\xe9</annotation>', "not complete XML"),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "not complete XML"),
        (BOMB, "XML entities or outside references, which are refused"),
        (OUTSIDE, "XML entities or outside references, which are refused"),
        ("<html></html>", "its root is <html>"),
        (_xml("<object><bndbox/></object>"), r"object\[0\]: lacks <name>"),
        (_xml(_object(), "<object><name>RBC</name></object>"), r"object\[1\]: bndbox.xmin must be a finite number"),
        (_xml(_object(box=("one", 1, 2, 2))), r"bndbox.xmin must be a finite number. Received: 'one'"),
        (_xml(_object(box=("nan", 1, 2, 2))), "bndbox.xmin must be a finite number. Received: 'nan'"),
        (_xml(_object(box=(1, "inf", 2, 2))), "bndbox.ymin must be a finite number"),
        (_xml(_object(box=(9, 1, 2, 2))), "xmin <= xmax"),
        (_xml(_object(extra="<difficult>yes</difficult>")), "difficult must be 0 or 1. Received: 'yes'"),
        (_xml(size="<size><width>x</width><height>3</height></size>"), "size.width must be a finite number"),
    ],
)
def test_broken_files_are_named(lab, text, message):
    path = lab.xml("broken", text)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_voc(path)
    assert "broken.xml" in str(caught.value)


@pytest.mark.parametrize(
    ("filename", "message"),
    [
        ("../secret.png", "filename: the path .* leads out"),
        ("/etc/hostname", "filename: the path .* is absolute"),
        ("none.png", "filename: no image 'none.png' in .*, and 0 images there are named b"),
    ],
)
def test_images_outside_or_missing_are_refused(lab, filename, message):
    lab.field("a", _object())
    write_image(lab.root / "secret.png", np.zeros((30, 40), np.uint8))
    lab.xml("b", _xml(_object(), filename=filename))
    with pytest.raises(AnnotationError, match=f"b.xml: {message}"):
        lab.convert()


def test_another_size_is_refused(lab):
    lab.field("a", _object(), size="<size><width>30</width><height>40</height></size>")
    with pytest.raises(AnnotationError, match="a.xml: size: .* 30 x 40 px, but .*a.png has 40 x 30 px .*exchanged"):
        lab.convert()


def test_a_file_without_size_takes_the_image_s(lab):
    lab.field("a", _object(), size="")
    assert lab.convert()[0].images[0].size_wh == (40, 30)


def test_a_truncated_image_is_refused(lab):
    lab.field("a", _object())
    path = lab.root / "images/a.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ImageReadError, match="a.png"):
        lab.convert()


def test_two_files_of_one_image_are_refused(lab):
    lab.field("a", _object())
    lab.xml("b", _xml(_object(), filename="a.png"))
    with pytest.raises(AnnotationError, match="b.xml: names the image a.png, as .*a.xml does"):
        lab.convert()


def test_an_empty_folder_and_one_without_any_object_are_refused(lab):
    with pytest.raises(AnnotationError, match="no XML file"):
        lab.convert()
    lab.field("a")
    with pytest.raises(AnnotationError, match="--classes"):
        lab.convert()
    assert lab.convert(LabelRules(classes=("CTC",), own_names=True))[1].images_without_cells == 1


def test_an_images_folder_that_is_none_is_named(lab):
    lab.field("a", _object())
    (lab.root / "images").rename(lab.root / "pictures")
    with pytest.raises(AnnotationError, match="images is not a folder; check the path"):
        lab.convert()
