import pytest

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.fields import JsonField, load_json_object


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not complete JSON"),
        (b'{"shapes": [{"label": "ct', "not complete JSON .line 1"),
        (b"[1, 2]", "must be an object"),
        (b'{"x": NaN}', "holds NaN"),
        (b'{"x": -Infinity}', "holds -Infinity"),
        (b'{"shapes": [], "shapes": [1]}', "the key 'shapes' twice"),
        ('{"x": "é"}'.encode("latin-1"), "not UTF-8 text .byte 7"),
        (b'{"x": "\\uD800"}', "holds half a character"),
        (b"[" * 200_000, "nested too deeply|not complete JSON"),
    ],
    ids=["empty", "truncated", "list", "nan", "infinity", "key twice", "latin-1", "half a character", "deep"],
)
def test_a_broken_file_is_refused_by_name(tmp_path, data, message):
    path = tmp_path / "field.json"
    path.write_bytes(data)
    with pytest.raises(AnnotationError, match=message) as caught:
        load_json_object(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(AnnotationError, match="none.json: cannot be read"):
        load_json_object(tmp_path / "none.json")


def test_a_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "bom.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert load_json_object(path).get("a").integer() == 1


def test_whole_characters_may_be_escaped(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": "\\ud83d\\ude00"}')
    assert load_json_object(path).get("a").string() == "\U0001f600"


def test_places_name_keys_and_indices():
    root = JsonField({"shapes": [{"points": [[1, True]]}]}, "a.json")
    point = root.get("shapes").objects()[0].get("points").items()[0]
    with pytest.raises(
        AnnotationError, match=r"^a.json: shapes\[0\].points\[0\]\[1\]: must be a finite number. Re.*True"
    ):
        point.numbers(2)


@pytest.mark.parametrize("value", [True, "1", None, [1], float("inf"), 10**400])
def test_what_is_no_number(value):
    with pytest.raises(AnnotationError, match="finite number"):
        JsonField(value, "a.json").number()


@pytest.mark.parametrize("value", [0.5, -1, 0])
def test_what_is_no_size(value):
    with pytest.raises(AnnotationError, match="whole number of at least 1"):
        JsonField(value, "a.json").integer(minimum=1)


def test_a_whole_float_is_an_integer():
    assert JsonField(640.0, "a.json").integer() == 640


def test_a_list_of_another_length_is_refused():
    with pytest.raises(AnnotationError, match="list of 4 numbers"):
        JsonField([1, 2, 3], "a.json").numbers(4)


def test_names_are_text_or_whole_numbers():
    assert JsonField(7, "a.json").name() == "7"
    assert JsonField("P7", "a.json").name() == "P7"
    with pytest.raises(AnnotationError, match="finite number"):
        JsonField(["P7"], "a.json").name()
