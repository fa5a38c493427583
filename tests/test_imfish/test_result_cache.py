"""Results kept by content: found again, the same to the last bit, never mixed up, and never read when damaged."""

import json

import numpy as np
import pytest

import ctc_mm.imfish.result_cache as module
from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.imaging.field_list import FieldSource
from ctc_mm.imaging.io import field_from_arrays, write_image, write_ome_tiff
from ctc_mm.imfish import ImFISHSettings, classify_field
from ctc_mm.imfish.result_cache import ResultCache, content_key, read_result, write_result
from ctc_mm.phantoms import IMFISH_CHANNELS, ImFISHPhantomConfig, generate_imfish_field

FULL = ImFISHSettings()


@pytest.fixture(scope="module")
def phantom():
    config = ImFISHPhantomConfig(image_wh=(400, 300), ctc_count=(3, 3), wbc_count=(5, 5), aggregate_count=(0, 0))
    return generate_imfish_field(config, np.random.default_rng(5))


def arrays(phantom, um_per_px=0.25, name="a", **changes):
    planes = {channel: phantom.channel(channel) for channel in IMFISH_CHANNELS} | changes
    return field_from_arrays(planes, name, um_per_px)


@pytest.fixture
def source(phantom, tmp_path):
    path = tmp_path / "slide.ome.tif"
    write_ome_tiff(path, phantom.image_cyx, IMFISH_CHANNELS, 0.25)
    return FieldSource("slide", path.name, {"": path}, {"dapi": 0, "cep8": 1, "cd45": 2})


@pytest.fixture
def counted(monkeypatch):
    """How often the rule itself ran."""
    calls = []
    monkeypatch.setattr(
        module, "classify_field", lambda *args, **more: calls.append(1) or classify_field(*args, **more)
    )
    return calls


def test_field_without_a_nucleus_is_kept_and_found(tmp_path, counted):
    black = {name: np.zeros((1, 1), np.uint8) for name in IMFISH_CHANNELS}
    cache = ResultCache(tmp_path)
    first, again = (cache.classify_open(field_from_arrays(black, name), FULL) for name in ("a", "b"))
    assert (first.records, again.name, len(counted)) == ((), "b", 1)


def test_result_from_disk_is_that_of_the_rule_under_the_name_of_the_field(phantom, tmp_path, counted):
    plain = classify_field(arrays(phantom, name="b"))
    first = ResultCache(tmp_path).classify_open(arrays(phantom, name="a"), FULL)
    again = ResultCache(tmp_path).classify_open(arrays(phantom, name="b"), FULL)
    assert len(counted) == 1
    assert again == plain
    assert len(again.records) > 5
    assert (first.name, again.name) == ("a", "b")
    assert [path.name for path in tmp_path.iterdir()] == [f"{content_key(arrays(phantom), FULL)}.json"]


def test_key_is_the_same_for_files_and_arrays(phantom, source, tmp_path):
    key = content_key(arrays(phantom), FULL)
    with source.open() as field:
        assert content_key(field, FULL) == key
    paths = {name: tmp_path / f"x_{name}.png" for name in IMFISH_CHANNELS}
    for name, path in paths.items():
        write_image(path, phantom.channel(name))
    with FieldSource("x", "x", paths).open(0.25) as field:
        assert content_key(field, FULL) == key
    with FieldSource("x", "x", paths).open() as field:
        assert content_key(field, FULL, 0.25) == key


def test_key_changes_with_all_that_decides_the_result(phantom, monkeypatch):
    one_pixel = phantom.channel("cd45").copy()
    one_pixel[299, 399] += 1
    keys = [
        content_key(arrays(phantom), FULL),
        content_key(arrays(phantom), ImFISHSettings(min_signals=4)),
        content_key(arrays(phantom), ImFISHSettings(mode="paper")),
        content_key(arrays(phantom, um_per_px=0.3), FULL),
        content_key(arrays(phantom, um_per_px=None), FULL),
        content_key(arrays(phantom, cd45=one_pixel), FULL),
        content_key(arrays(phantom, cep8=phantom.channel("cd45"), cd45=phantom.channel("cep8")), FULL),
        content_key(arrays(phantom, cd45=phantom.channel("cd45").astype(np.float32)), FULL),
    ]
    monkeypatch.setattr(module, "RULE_VERSION", "next")
    keys.append(content_key(arrays(phantom), FULL))
    assert len(set(keys)) == len(keys)
    # The signals alone do not depend on CD45.
    paper = ImFISHSettings(mode="paper")
    assert content_key(arrays(phantom, cd45=one_pixel), paper) == content_key(arrays(phantom), paper)


def test_memory_asks_neither_file_nor_rule_again_until_the_file_changes(source, counted, monkeypatch):
    cache = ResultCache()
    first = cache.classify_source(source, FULL)
    with monkeypatch.context() as patched:
        patched.setattr(FieldSource, "open", None)
        assert cache.classify_source(source, FULL) == first
    assert len(counted) == 1
    write_ome_tiff(source.paths[""], np.zeros((3, 64, 64), np.uint16), IMFISH_CHANNELS, 0.25)
    assert cache.classify_source(source, FULL).size_wh == (64, 64)
    cache.classify_source(source, ImFISHSettings(mode="paper"))
    assert len(counted) == 3


def test_memory_is_bounded(source, counted):
    cache = ResultCache(most_nuclei=2 * module.NUCLEI_PER_FIELD - 1)
    others = [ImFISHSettings(min_signals=number) for number in (2, 3, 4)]
    for settings in (*others, others[-1], others[0]):
        cache.classify_source(source, settings)
    assert len(counted) == 4  # only the last one was still there
    assert len(cache._results) == 1
    assert cache._held <= cache.most_nuclei


def test_damaged_file_is_an_error_with_the_cure(phantom, tmp_path):
    path = tmp_path / f"{content_key(arrays(phantom), FULL)}.json"
    result = ResultCache(tmp_path).classify_open(arrays(phantom), FULL)
    text = path.read_text()
    changed = text.replace('"is_ctc": true', '"is_ctc": false', 1)
    assert changed != text
    for broken in ("", "{}", text[: len(text) // 2], changed, json.dumps(result.to_dict())):
        path.write_text(broken)
        with pytest.raises(AnnotationError, match=f"{path.name}: a damaged result.*delete the file"):
            ResultCache(tmp_path).classify_open(arrays(phantom), FULL)
    write_result(path, result)
    assert path.read_text() == text
    assert read_result(path) == result


def test_unreadable_field_leaves_nothing_behind(phantom, tmp_path):
    nan = phantom.channel("cep8").astype(np.float32)
    nan[250, 3] = np.nan
    with pytest.raises(ImageReadError, match="channel 'cep8' holds pixels that are not finite: 1 NaN"):
        ResultCache(tmp_path).classify_open(arrays(phantom, cep8=nan), FULL)
    assert list(tmp_path.iterdir()) == []
