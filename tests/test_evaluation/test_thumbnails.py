import numpy as np
import pytest

from ctc_mm.errors import ImageReadError
from ctc_mm.evaluation.thumbnails import cell_thumbnail, path_text
from ctc_mm.imaging.io import write_image, write_ome_tiff

RAMP = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) % 251


def test_missing_image_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ImageReadError, match=r"none\.png: no such image"):
        cell_thumbnail(str(tmp_path / "none.png"))


def test_depth_does_not_matter(tmp_path):
    write_image(tmp_path / "8.png", RAMP.astype(np.uint8))
    write_image(tmp_path / "16.png", RAMP * 257)
    write_image(tmp_path / "f.tif", (RAMP / 255).astype(np.float32))
    first = cell_thumbnail(str(tmp_path / "8.png"))
    assert (first.shape, first.dtype) == ((96, 96, 3), np.uint8)
    np.testing.assert_array_equal(first, cell_thumbnail(str(tmp_path / "16.png")))
    np.testing.assert_allclose(first.astype(int), cell_thumbnail(str(tmp_path / "f.tif")).astype(int), atol=1)


def test_aspect_is_kept_on_a_light_ground(tmp_path):
    write_image(tmp_path / "wide.png", np.zeros((10, 40), np.uint8))
    shown = cell_thumbnail(str(tmp_path / "wide.png"), size_px=80)
    assert (shown[:30] == 235).all()
    assert (shown[30:50] == 0).all()
    assert (shown[50:] == 235).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (500, 500)])
def test_any_size(tmp_path, shape):
    write_image(tmp_path / "a.png", np.full(shape, 7, np.uint8))
    assert cell_thumbnail(str(tmp_path / "a.png"), size_px=32).shape == (32, 32, 3)


def test_colours_stay_colours(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, :, 0] = 200
    write_image(tmp_path / "rgb.png", image)
    shown = cell_thumbnail(str(tmp_path / "rgb.png"), size_px=8)
    assert shown[0, 0].tolist() == [255, 0, 0]
    assert shown[7, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("n_channels", [2, 3, 5])
def test_channels_stand_side_by_side(tmp_path, n_channels):
    planes = np.zeros((n_channels, 12, 12), np.uint16)
    for plane in range(n_channels):
        planes[plane, plane : plane + 4] = 1000 * (plane + 1)
    names = [f"c{plane}" for plane in range(n_channels)]
    write_ome_tiff(tmp_path / "a.tif", planes, names)
    shown = cell_thumbnail(str(tmp_path / "a.tif"), "+".join(names), size_px=12)
    assert shown.shape == (12, 12 * n_channels, 3)
    for plane in range(n_channels):
        bright = shown[:, 12 * plane : 12 * (plane + 1), 0] == 255
        np.testing.assert_array_equal(bright, planes[plane] > 0)


def test_one_plane_of_a_file_and_planes_of_several_files(tmp_path):
    planes = np.zeros((3, 6, 6), np.uint16)
    planes[1, :3] = 500
    write_ome_tiff(tmp_path / "a.tif", planes, ["dapi", "cep8", "cd45"])
    write_image(tmp_path / "b.png", RAMP[:6, :6].astype(np.uint8))
    path = path_text([str(tmp_path / "a.tif"), str(tmp_path / "b.png")], [1, None])
    assert path == f"{tmp_path / 'a.tif'}#plane1;{tmp_path / 'b.png'}"
    shown = cell_thumbnail(path, "cep8+bright", size_px=6)
    assert shown.shape == (6, 12, 3)
    np.testing.assert_array_equal(shown[:, :6, 0] == 255, planes[1] > 0)
    with pytest.raises(ImageReadError, match=r"a\.tif: has no plane 3"):
        cell_thumbnail(f"{tmp_path / 'a.tif'}#plane3")


def test_a_file_named_once_stays_one():
    assert path_text(["a.tif", "a.tif"], [None, None]) == "a.tif"
    assert path_text(["a.tif", "a.tif"], [0, 2]) == "a.tif#plane0;a.tif#plane2"
