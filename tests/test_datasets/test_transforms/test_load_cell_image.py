import numpy as np
import pytest

from ctc_mm.errors import ImageReadError
from ctc_mm.formats.cell_set import CellRow, CellSetWriter
from ctc_mm.imaging.io import write_image
from ctc_mm.imaging.normalize import normalize_background_brightness
from ctc_mm.registry import TRANSFORMS


def load(results, **options):
    return TRANSFORMS.build({"type": "ctc_mm.LoadCellImage", **options})(dict(results))


@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 5), np.uint8), np.zeros((5, 0, 3), np.float32), np.zeros(5, np.uint8)],
    ids=["no_rows", "no_columns", "one_axis"],
)
def test_no_image_is_refused(image):
    with pytest.raises(ImageReadError, match=r"image must be \(H, W\) or \(H, W, C\) with pixels"):
        load({"img": image})


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("normalize", [None, "background", "stretch"])
def test_one_pixel(normalize, value):
    results = load({"img": np.full((1, 1), value, np.uint8)}, normalize=normalize)
    assert results["img"].shape == (1, 1, 3)
    expected = {None: value, "background": 127.5, "stretch": 0}[normalize]
    assert results["img"].tolist() == [[[expected] * 3]]


def test_grey_is_replicated_and_colours_stay_red_green_blue(tmp_path):
    grey, colour = np.arange(12, dtype=np.uint8).reshape(3, 4), np.zeros((3, 4, 3), np.uint8)
    colour[..., 0], colour[..., 2] = 200, 100
    for name, image in (("grey", grey), ("colour", colour)):
        write_image(tmp_path / f"{name}.png", image)
    results = load({"img_path": str(tmp_path / "grey.png")})
    assert results["img"].dtype == np.float32
    assert (results["img"] == grey[..., None]).all()
    assert results["img_shape"] == results["ori_shape"] == (3, 4)
    assert load({"img_path": str(tmp_path / "colour.png")})["img"][0, 0].tolist() == [200, 0, 100]
    assert load({"img_path": str(tmp_path / "grey.png")}, to_channels=None)["img"].shape == (3, 4, 1)
    one = load({"img_path": str(tmp_path / "colour.png")}, to_channels=1)["img"]
    assert one.shape == (3, 4, 1)
    assert one[0, 0, 0] == pytest.approx(0.299 * 200 + 0.114 * 100, abs=0.1)


@pytest.mark.parametrize(
    ("dtype", "level", "options", "expected"),
    [
        (np.uint8, 100, {}, 100),
        (np.uint16, 1000, {}, 1000 * 255 / 1023),  # a guess for lack of better
        (np.uint16, 1000, {"white_levels": [4095.0]}, 1000 * 255 / 4095),
        (np.uint16, 1000, {"white_level": 4095.0}, 1000 * 255 / 4095),
        (np.uint8, 100, {"white_levels": [4095.0]}, 100),
        (np.float32, 0.5, {}, 127.5),
        (np.float32, 300, {"white_levels": [600.0]}, 127.5),
    ],
)
def test_white_levels(dtype, level, options, expected):
    assert load({"img": np.full((2, 2), level, dtype)} | options)["img"][0, 0, 0] == pytest.approx(expected, rel=1e-6)


def test_a_white_level_of_the_transform_goes_first():
    assert (
        load({"img": np.full((2, 2), 500, np.uint16), "white_levels": [4095.0]}, white_level=1000)["img"].max() == 127.5
    )


def test_an_image_of_another_depth_is_refused():
    with pytest.raises(ImageReadError, match=r"100% of its pixels are above the white level 1023"):
        load({"img": np.full((2, 2), 4000, np.uint16), "white_levels": [1023.0]})


@pytest.mark.parametrize("suffix", ["", "+cd45", "+cd45+ck"], ids=["2", "3", "4"])
def test_planes_of_a_file_and_of_several(tmp_path, suffix):
    names = f"dapi+cep8{suffix}".split("+")
    planes = np.stack([np.full((4, 5), 10 * (place + 1), np.uint8) for place in range(len(names))], axis=-1)
    with CellSetWriter(tmp_path) as writer:
        fields = dict(label="CTC", group="P", source="s", box_xyxy=(0, 0, 5, 4))
        many = writer.add(CellRow(cell_id="a", channel="+".join(names), **fields), planes)
        one = writer.add(CellRow(cell_id="a", channel="brightfield", **fields), np.full((4, 5), 200, np.uint8))
    paths = [str(tmp_path / many.path), str(tmp_path / one.path)]
    whole = load({"img_path": paths[0], "channel": many.channel}, to_channels=None)
    assert whole["img"][0, 0].tolist() == [10 * (place + 1) for place in range(len(names))]
    mixed = {"img_paths": [paths[0], paths[1], paths[0]], "img_planes": [1, None, 0], "img_path": paths[0]}
    assert load(mixed | {"channel": "cep8+brightfield+dapi"})["img"][3, 4].tolist() == [20, 200, 10]
    with pytest.raises(ImageReadError, match=rf"has no plane 9 \(shape \(4, 5, {len(names)}\)\)"):
        load(mixed | {"img_planes": [9, None, 0], "channel": "x"})


def test_of_several_files_a_colour_one_counts_by_its_grey_value(tmp_path):
    for name, image in (("bf", np.full((4, 4, 3), (200, 100, 0), np.uint8)), ("dapi", np.full((4, 4), 9, np.uint8))):
        write_image(tmp_path / f"{name}.png", image)
    paths = [str(tmp_path / "bf.png"), str(tmp_path / "dapi.png")]
    stacked = load({"img_path": paths[0], "img_paths": paths, "channel": "brightfield+dapi"}, to_channels=None)
    np.testing.assert_allclose(stacked["img"][0, 0], [0.299 * 200 + 0.587 * 100, 9], atol=0.1)


@pytest.mark.parametrize(
    ("results", "options", "message"),
    [
        ({"img": np.ones((4, 4, 2), np.uint8), "channel": "bf+dapi"}, {},
         r"channel bf\+dapi\): has 2 planes .* takes 3; set to_channels=None and the network's in_channels=2"),
        ({"img": np.full((3, 3), np.nan, np.float32)}, {}, "9 NaN or infinite pixels"),
        ({"img": np.ones((3, 3), bool)}, {}, "received dtype bool"),
        ({"img": np.full((3, 3), 7, np.float32)}, {}, "float pixels reach 7; give white_level"),
        ({"img": np.ones((4, 4, 2), np.uint8), "channel": "a+b+c"}, {"normalize": "stretch"},
         "holds 2 planes .* but names 3 channels"),
    ],
    ids=["two_planes", "nan", "bool", "float", "names"],
)  # fmt: skip
def test_what_does_not_fit_is_named(results, options, message):
    with pytest.raises(ImageReadError, match=message):
        load(results, **options)


def test_files_of_different_size_are_refused(tmp_path):
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    for side, path in zip((4, 5), paths, strict=True):
        write_image(path, np.ones((side, 4), np.uint8))
    with pytest.raises(ImageReadError, match=r"a\.png, .*b\.png \(channel x\+y\): channels differ in size"):
        load({"img_path": paths[0], "img_paths": paths, "channel": "x+y"}, to_channels=None)
    with pytest.raises(ImageReadError, match=r"c\.png"):
        load({"img_path": str(tmp_path / "c.png")})
    with pytest.raises(ValueError, match="both are missing"):
        load({})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to_channels": 4}, "to_channels must be 1, 3 or None, received 4"),
        ({"white_level": 0}, "white_level must be 'auto' or a number above 0"),
        ({"white_level": "max"}, "white_level must be 'auto'"),
        ({"normalize": "zscore"}, "normalize must be one of"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        load({}, **options)


@pytest.fixture
def cell():
    """A dark ring on an uneven, bright background."""
    y, x = np.mgrid[:31, :31]
    image = 150 + x - 60.0 * (np.abs(np.hypot(y - 15, x - 15) - 8) < 2)
    return image.astype(np.uint8)


def test_normalization_of_each_crop(cell):
    for channel, kind in (("brightfield", "bright_field"), ("dapi", "fluorescence")):
        image = load({"img": cell, "channel": channel}, normalize="background", to_channels=None)["img"]
        expected = normalize_background_brightness(cell.astype(np.float32), kind) * 255
        np.testing.assert_allclose(image[..., 0], expected, atol=1e-3)
    stretched = load({"img": cell}, normalize="stretch")["img"]
    assert (stretched.min(), stretched.max()) == (0, 255)


def test_normalized_crops_do_not_depend_on_depth_and_lamp(cell):
    versions = [
        cell,
        cell.astype(np.uint16) * 257,
        (cell / 255).astype(np.float32),
        (cell * 0.5).astype(np.float32) / 255,
    ]
    for normalize in ("background", "stretch"):
        images = [load({"img": version}, normalize=normalize)["img"] for version in versions]
        for other in images[1:]:
            np.testing.assert_allclose(other, images[0], atol=0.05)


def test_planes_are_normalized_each_by_itself(cell):
    planes = np.stack([cell, cell // 4, np.full_like(cell, 9)], axis=-1)
    image = load({"img": planes, "channel": "brightfield+dapi+ck"}, normalize="stretch")["img"]
    assert image.max(axis=(0, 1)).tolist() == [255, 255, 0]


def test_a_constant_crop_stays_constant():
    for normalize in ("background", "stretch"):
        assert np.ptp(load({"img": np.full((9, 9), 80, np.uint8)}, normalize=normalize)["img"]) == 0


def test_repr_names_the_choices():
    transform = TRANSFORMS.build({"type": "ctc_mm.LoadCellImage", "normalize": "background"})
    assert repr(transform) == "LoadCellImage(to_channels=3, white_level='auto', normalize='background')"
