import pytest

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.labels import LabelRules, parse_classes, parse_label_map


@pytest.mark.parametrize("label", ["ctc", "CTC", "CTCs", "tumor", " Tumour_Cell ", "circulating-tumor cells"])
def test_aliases_of_ctc(label):
    assert LabelRules().class_of(label, "here") == "CTC"


@pytest.mark.parametrize("label", ["wbc", "WBCs", "White Blood Cell", "leukocyte", "non-CTC"])
def test_aliases_of_wbc(label):
    assert LabelRules().class_of(label, "here") == "WBC"


def test_an_unknown_label_is_an_error_that_names_place_and_cure():
    with pytest.raises(
        AnnotationError, match=r"a.json: shapes\[3\]: unknown label 'blob'; .*--labels 'blob=CTC'.*--skip"
    ):
        LabelRules().class_of("blob", "a.json: shapes[3]")


def test_an_unknown_label_is_skipped_on_demand():
    assert LabelRules(skip_unknown=True).class_of("blob", "here") is None


def test_the_map_wins_over_aliases_and_stands_beside_them():
    rules = LabelRules(parse_label_map("H1299=CTC,tumor=WBC, debris = __ignore__"))
    assert rules.class_of("h1299", "") == "CTC"
    assert rules.class_of("Tumor", "") == "WBC"
    assert rules.class_of("debris", "") == "__ignore__"
    assert rules.class_of("CTCs", "") == "CTC"
    assert rules.class_of("__ignore__", "") == "__ignore__"


def test_the_name_of_a_mapped_class_is_known():
    assert LabelRules(parse_label_map("red=RBC")).class_of("rbc", "") == "RBC"


def test_classes_limit_what_is_known():
    rules = LabelRules(classes=("CTC",))
    assert rules.class_of("tumor", "") == "CTC"
    with pytest.raises(AnnotationError, match="means class 'WBC', which --classes CTC does not list"):
        rules.class_of("wbc", "")


def test_own_names_are_kept_as_written():
    assert LabelRules(own_names=True).class_of(" ctc blob ", "") == "ctc blob"


@pytest.mark.parametrize("text", ["", "a", "a=", "=b", "a=b=c", "a=b,,c=d"])
def test_maps_that_are_no_map(text):
    with pytest.raises(ValueError, match="from=to"):
        parse_label_map(text)


def test_a_label_mapped_twice_is_refused():
    with pytest.raises(ValueError, match="'Ctc' to both 'CTC' and 'WBC'"):
        parse_label_map("ctc=CTC,Ctc=WBC")
    assert parse_label_map("ctc=CTC,CTC=CTC") == {"ctc": "CTC"}


@pytest.mark.parametrize("text", ["", "A,,B", "A,A", "A,__ignore__"])
def test_classes_that_are_no_classes(text):
    with pytest.raises(ValueError, match="--classes"):
        parse_classes(text)


@pytest.mark.parametrize(
    ("rules", "seen", "expected"),
    [
        (LabelRules(), set(), ("CTC", "WBC")),
        (LabelRules(), {"CTC"}, ("CTC", "WBC")),
        (LabelRules(parse_label_map("a=WBC,b=CTC")), {"WBC"}, ("CTC", "WBC")),
        (LabelRules(parse_label_map("a=Beta,b=Alpha")), {"Alpha"}, ("Beta", "Alpha")),
        (LabelRules(parse_label_map("a=Debris")), {"WBC", "Debris"}, ("WBC", "Debris")),
        (LabelRules(parse_label_map("a=Debris,b=CTC,c=__ignore__")), {"Debris"}, ("CTC", "Debris")),
        (LabelRules(classes=("CTC",)), {"CTC"}, ("CTC",)),
        (LabelRules(own_names=True), {"WBC", "RBC", "Platelets"}, ("Platelets", "RBC", "WBC")),
        (LabelRules(own_names=True), {"Blob", "CTC", "__ignore__"}, ("CTC", "Blob")),
    ],
)
def test_the_order_of_classes(rules, seen, expected):
    assert rules.class_order(seen) == expected


def test_a_folder_without_any_class_is_refused():
    with pytest.raises(AnnotationError, match="--classes"):
        LabelRules(own_names=True).class_order({"__ignore__"})
