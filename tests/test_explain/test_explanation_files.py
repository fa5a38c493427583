from pathlib import Path

import cv2
import numpy as np
import pytest

from ctc_mm.errors import ImageReadError
from ctc_mm.explain.files import list_images, output_stems, save_explanation


def test_maps_come_back_as_they_were(tmp_path, cam_result):
    image = tmp_path / "field.png"
    cv2.imwrite(str(image), np.full((300, 300), 90, dtype=np.uint8))
    result = cam_result()
    files = save_explanation(result, image, tmp_path / "new" / "out", "field", ["CTC"])
    stored = np.load(files.maps)
    assert sorted(stored) == sorted(vars(result))
    assert all(np.array_equal(stored[name], value) for name, value in vars(result).items())
    assert (files.kept, files.explained) == (1, 1)
    assert files.to_dict() == {
        "image": str(image),
        "overlay": "field.png",
        "levels": "field_levels.png",
        "maps": "field.npz",
        "boxes_kept": 1,
        "boxes_explained": 1,
    }
    assert sorted(path.name for path in files.maps.parent.iterdir()) == ["field.npz", "field.png", "field_levels.png"]


def test_image_of_another_size_than_the_maps_is_refused(tmp_path, cam_result):
    image = tmp_path / "turned.png"
    cv2.imwrite(str(image), np.zeros((200, 300), dtype=np.uint8))
    with pytest.raises(ImageReadError, match=r"turned.png: 300x200 px, but .* 300x300.*EXIF"):
        save_explanation(cam_result(), image, tmp_path / "out", "x", ["CTC"])
    assert not (tmp_path / "out").exists()


def test_files_and_folders_are_listed_once_and_in_order(tmp_path):
    for name in ("b.png", "a.TIF", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.jpg").touch()
    listed = list_images([tmp_path / "b.png", str(tmp_path / "deeper"), tmp_path])
    assert [path.name for path in listed] == ["b.png", "c.jpg", "a.TIF"]
    # Converters keep a set's subfolders (images/train/...), so the folder that a user names may hold folders alone.
    assert [path.name for path in list_images([tmp_path])] == ["a.TIF", "b.png", "c.jpg"]


@pytest.mark.parametrize(("name", "message"), [("empty", "no image in this folder"), ("gone.png", "no such file")])
def test_nothing_to_explain_is_an_error(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageReadError, match=message):
        list_images([tmp_path / name])


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        ([], []),
        (["a.png", "b.png"], ["a", "b"]),
        (["one/x.png", "two/x.png", "x.tif"], ["x", "x-2", "x-3"]),
        (["X.png", "x.png"], ["X", "x-2"]),
        (["x.png", "x_levels.png"], ["x", "x_levels-2"]),
        (["x_levels.png", "x.png"], ["x_levels", "x-2"]),
    ],
)
def test_no_result_overwrites_another(names, stems):
    assert output_stems([Path(name) for name in names]) == stems
