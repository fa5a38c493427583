"""Fields for the network: one scale for all windows of a field, each channel in its place."""

import copy
import pickle

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS

import ctc_mm.datasets  # noqa: F401
from ctc_mm.datasets.transforms import LoadField
from ctc_mm.errors import ConfigError, ImageReadError
from ctc_mm.imaging.io import write_image, write_ome_tiff

NAMES = ("dapi", "cep8", "cd45")


@pytest.fixture(scope="module")
def image_cyx():
    """12-bit; each channel a ramp of its own with a few bright pixels."""
    rng = np.random.default_rng(0)
    image = rng.integers(100, 200, (3, 90, 120)).astype(np.uint16)
    image[1, 40:46, 60:66] = 3000
    image[0, 10:50, 10:50] += 1000
    image[2, 60:80, 60:110] += 500
    return image


@pytest.fixture
def path(image_cyx, tmp_path):
    write_ome_tiff(tmp_path / "f.ome.tif", image_cyx, NAMES, 0.25)
    return tmp_path / "f.ome.tif"


def test_black_field_is_black(tmp_path):
    write_ome_tiff(tmp_path / "f.ome.tif", np.zeros((3, 1, 1), np.uint8), NAMES, None)
    results = LoadField().transform(dict(img_path=str(tmp_path / "f.ome.tif")))
    assert results["img"].dtype == np.float32
    np.testing.assert_array_equal(results["img"], np.zeros((1, 1, 3)))
    assert results["field_levels"] == dict.fromkeys(NAMES, (0.0, 0.0))


def test_channels_lie_between_0_and_255_in_the_order_wanted(path, image_cyx):
    step = TRANSFORMS.build(dict(type="ctc_mm.LoadField", channels=("cd45", None, "cep8")))
    results = step(dict(img_path=str(path)))
    image, levels = results["img"], results["field_levels"]
    assert (image.shape, image.dtype, results["ori_shape"], results["img_shape"]) == (
        (90, 120, 3), np.float32, (90, 120), (90, 120),
    )  # fmt: skip
    assert image[..., 1].max() == 0
    for place, plane in ((0, image_cyx[2]), (2, image_cyx[1])):
        low, high = np.percentile(plane, (1, 99.99))
        assert levels[NAMES[2 - place // 2]] == (low, high)
        np.testing.assert_allclose(image[..., place], np.clip((plane - low) / (high - low) * 255, 0, 255), atol=1e-3)


def test_window_is_a_part_of_the_field_on_the_field_s_scale(path):
    step = LoadField()
    whole = step.transform(dict(img_path=str(path)))["img"]
    for region in ((0, 0, 30, 20), (60, 40, 120, 90), (55, 33, 66, 44)):
        results = step.transform(dict(img_path=str(path), region_xyxy=region))
        x0, y0, x1, y1 = region
        np.testing.assert_array_equal(results["img"], whole[y0:y1, x0:x1])
        assert results["ori_shape"] == (y1 - y0, x1 - x0)


def test_what_lies_beyond_the_field_is_black(path):
    step = LoadField()
    whole = step.transform(dict(img_path=str(path)))["img"]
    image = step.transform(dict(img_path=str(path), region_xyxy=(100, -10, 150, 100)))["img"]
    np.testing.assert_array_equal(image[10:100, :20], whole[:, 100:])
    assert image[:10].max() == image[100:].max(initial=0) == image[:, 20:].max() == 0


def test_files_arrays_and_depths_give_one_image(path, image_cyx, tmp_path):
    wanted = LoadField().transform(dict(img_path=str(path)))["img"]
    paths = {name: tmp_path / f"{name}.png" for name in NAMES}
    for name, plane in zip(NAMES, image_cyx, strict=True):
        write_image(paths[name], plane)
    np.testing.assert_array_equal(LoadField().transform(dict(channel_paths=paths))["img"], wanted)
    for image in (image_cyx, np.moveaxis(image_cyx, 0, -1), image_cyx.astype(np.float32)):
        np.testing.assert_array_equal(LoadField().transform(dict(img=image))["img"], wanted)
    named = dict(dapi="dapi", cep8="cep8", cd45="cd45")
    np.testing.assert_array_equal(LoadField(channel_map=named).transform(dict(img_path=str(path)))["img"], wanted)
    low = (image_cyx // 16).astype(np.uint8)
    np.testing.assert_allclose(
        LoadField().transform(dict(img=low))["img"],
        LoadField().transform(dict(img=low.astype(np.uint16) * 257))["img"],
        atol=1e-3,
    )


def test_levels_are_measured_once_a_field_and_survive_pickling(path, monkeypatch):
    step = LoadField()
    step.transform(dict(img_path=str(path), region_xyxy=(0, 0, 9, 9)))
    monkeypatch.setattr("ctc_mm.datasets.transforms.load_field.measure_field_range", None)
    other = pickle.loads(pickle.dumps(step)).transform(dict(img_path=str(path), region_xyxy=(20, 20, 70, 70)))
    assert other["field_levels"] == step.transform(dict(img_path=str(path)))["field_levels"]
    other["field_levels"].clear()
    assert set(step.transform(dict(img_path=str(path)))["field_levels"]) == set(NAMES)


def test_changed_file_is_measured_again(path, image_cyx):
    step = LoadField()
    before = step.transform(dict(img_path=str(path)))["field_levels"]
    write_ome_tiff(path, image_cyx[:, :80] + np.uint16(7), NAMES, 0.25)
    assert step.transform(dict(img_path=str(path)))["field_levels"]["dapi"][0] > before["dapi"][0]


def test_white_level_keeps_brightness_comparable(path, image_cyx):
    results = LoadField(white_level=dict(dapi=4095, cep8=2000, cd45=1000)).transform(dict(img_path=str(path)))
    np.testing.assert_allclose(results["img"][..., 0], image_cyx[0] / 4095 * 255, rtol=1e-6)
    assert results["img"][40, 60, 1] == 255
    assert results["field_levels"]["cd45"] == (0.0, 1000.0)


def test_input_array_is_left_alone(image_cyx):
    original = copy.deepcopy(image_cyx)
    LoadField().transform(dict(img=image_cyx))
    np.testing.assert_array_equal(image_cyx, original)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(channels=("dapi", "cep8")), "three names"),
        (dict(channels=(None, None, None)), "three names"),
        (dict(percentiles=(50, 50)), "two rising numbers"),
        (dict(percentiles=(1, 101)), "two rising numbers"),
        (dict(white_level=0), "above 0"),
        (dict(white_level=dict(dapi=255)), "for each channel"),
        (dict(channel_map="dapi=0,cep8=0"), "both|all mapped"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LoadField(**options)


def test_bad_input_is_named(path, tmp_path):
    with pytest.raises(ConfigError, match="all are missing"):
        LoadField().transform({})
    with pytest.raises(ConfigError, match=r"a part of the field of 120 x 90 px.*\(120, 0, 130, 10\)"):
        LoadField().transform(dict(img_path=str(path), region_xyxy=(120, 0, 130, 10)))
    with pytest.raises(ImageReadError, match="absent.tif"):
        LoadField().transform(dict(img_path=str(tmp_path / "absent.tif")))
    with pytest.raises(ImageReadError, match="has no channel 5"):
        LoadField(channel_map=dict(dapi=0, cep8=5, cd45=2)).transform(dict(img_path=str(path)))
    with pytest.raises(ValueError, match=r"at least 3 channels. Received shape: \(4, 5\)"):
        LoadField().transform(dict(img=np.zeros((4, 5))))
    with pytest.raises(ValueError, match="given by place"):
        LoadField(channel_map=dict(dapi="D", cep8="C", cd45="W")).transform(dict(img=np.zeros((4, 5, 3), np.uint8)))
    loaded = LoadField().transform(dict(img=np.zeros((4, 5, 3), np.uint8)))
    with pytest.raises(ConfigError, match="stretched or resized already"):
        LoadField().transform(loaded)
