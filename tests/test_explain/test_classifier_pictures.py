"""Pictures and sheets of explained cells: sizes, order, marks of wrong ones, bytes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ctc_mm.explain.classifier_cam import ClassificationCAM
from ctc_mm.explain.classifier_draw import (
    GAP_PX,
    HEADER_PX,
    SHEET_COLUMNS,
    SHEET_ROWS,
    TILE_TEXT_PX,
    TILE_WH,
    WRONG_COLOR_RGB,
    SheetTile,
    describe_cell,
    draw_cell,
    draw_sheet,
)
from ctc_mm.explain.classifier_files import save_cell, save_overview

CLASSES = ("CTC", "WBC")
TILE_PITCH = (TILE_WH[0] + GAP_PX, TILE_WH[1] + TILE_TEXT_PX + GAP_PX)


def make_result(score=0.9, image=None, hot=True):
    image = np.full((20, 30), 100, np.float32) if image is None else image
    cam = np.zeros(image.shape[:2], np.float32)
    if hot:
        cam[:, : cam.shape[1] // 2] = 1
    scores = np.array([score, 1 - score], np.float32)
    predicted = int(scores.argmax())
    return ClassificationCAM(cam, cam[::4, ::4], image, scores, np.log(scores), predicted, predicted, "backbone.layer2")


@pytest.mark.parametrize(
    ("score", "truth", "text"),
    [(0.9, None, "CTC 0.90"), (0.9, 0, "CTC 0.90"), (0.9, 1, "CTC 0.90 (is WBC)"), (0.25, 1, "WBC 0.75")],
)
def test_a_cell_is_described_by_class_score_and_error(score, truth, text):
    assert describe_cell(make_result(score), CLASSES, truth) == text


def test_classes_without_names_have_numbers():
    assert describe_cell(make_result(0.2), (), 0) == "class 1 0.80 (is class 0)"


@pytest.mark.parametrize("shape", [(1, 1), (20, 30), (34, 34, 3), (300, 400, 3), (7, 90)])
def test_cell_and_map_are_enlarged_to_one_size(shape):
    image = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    picture = draw_cell(make_result(image=image), CLASSES)
    scale = 300 / min(shape[:2])
    height, width = round(shape[0] * scale), round(shape[1] * scale)
    assert picture.dtype == np.uint8
    assert picture.shape == (height + HEADER_PX, 2 * width + GAP_PX, 3)


def test_the_cell_is_left_bare_and_the_map_is_beside_it():
    image = np.tile(np.linspace(0, 255, 30, dtype=np.float32), (20, 1))
    picture = draw_cell(make_result(image=image), CLASSES)[HEADER_PX:].astype(int)
    width = (picture.shape[1] - GAP_PX) // 2
    cell, overlay = picture[:, :width], picture[:, -width:]
    assert (cell[..., 0] == cell[..., 1]).all()  # grey
    cold = slice(2 * width // 3, None)
    np.testing.assert_array_equal(overlay[:, cold], cell[:, cold])
    hot = overlay[:, : width // 3] - cell[:, : width // 3]
    assert (hot[..., 0] > hot[..., 2]).all()
    empty = draw_cell(make_result(image=image, hot=False), CLASSES)[HEADER_PX:]
    np.testing.assert_array_equal(empty[:, :width], empty[:, -width:])


def red_pixels(picture):
    """Pixels of text or frame in the colour of wrong cells."""
    return (np.abs(picture.astype(int) - WRONG_COLOR_RGB).max(axis=2) < 40).sum()


def test_wrong_cells_are_titled_in_red():
    assert red_pixels(draw_cell(make_result(0.9), CLASSES, truth=1)[:HEADER_PX]) > 50
    for truth in (None, 0):
        assert red_pixels(draw_cell(make_result(0.9), CLASSES, truth=truth)[:HEADER_PX]) == 0


@pytest.mark.parametrize("count", [1, 6, 7, 60])
def test_a_sheet_has_rows_of_six_and_frames_wrong_cells(count):
    picture = draw_cell(make_result(hot=False), CLASSES)
    tiles = [SheetTile(picture, "CTC 0.90", f"cell_{index}", wrong=index == count - 1) for index in range(count)]
    sheet = draw_sheet(tiles, "a title")
    rows = -(-count // SHEET_COLUMNS)
    assert sheet.shape == (HEADER_PX + rows * TILE_PITCH[1], SHEET_COLUMNS * TILE_PITCH[0], 3)
    for index in range(rows * SHEET_COLUMNS):
        row, column = divmod(index, SHEET_COLUMNS)
        top, left = HEADER_PX + row * TILE_PITCH[1], column * TILE_PITCH[0]
        tile = sheet[top : top + TILE_PITCH[1], left : left + TILE_PITCH[0]]
        if index < count:
            assert (red_pixels(tile) > 500) == tiles[index].wrong
            assert (tile < 255).any()
        else:
            assert (tile == 255).all()


def test_very_long_and_very_wide_cells_stay_in_their_tile():
    for shape in ((300, 30), (30, 300)):
        picture = draw_cell(make_result(image=np.full(shape, 90, np.float32)), CLASSES)
        assert draw_sheet([SheetTile(picture, "t" * 200, "n" * 200, True)], "t" * 500).shape[0] == (
            HEADER_PX + TILE_PITCH[1]
        )


def save_many(out_dir, scores):
    cells = []
    for index, score in enumerate(scores):
        image = np.full((12, 12), 90, np.float32)
        origin = {"cell_id": f"P1/{index}"}
        cells.append(
            save_cell(make_result(score, image), f"in/{index}.png", out_dir, f"{index:03d}", CLASSES, 0, origin)
        )
    return save_overview(cells, out_dir, CLASSES, {"score_thr": None})


def test_sheets_are_sorted_by_the_score_of_the_target(tmp_path):
    count = SHEET_COLUMNS * SHEET_ROWS + 2
    scores = np.random.default_rng(0).permutation(np.linspace(0.01, 0.99, count))
    written = save_many(tmp_path, scores)
    assert [path.name for path in written.sheets] == ["contact_sheet.png", "contact_sheet_2.png"]
    content = json.loads((tmp_path / "explain.json").read_text())
    assert content["contact_sheets"] == ["contact_sheet.png", "contact_sheet_2.png"]
    assert content["wrong"] == written.wrong == (scores < 0.5).sum()  # all of them are CTC
    assert [cell["cell_id"] for cell in content["cells"]] == [f"P1/{index}" for index in range(count)]
    np.testing.assert_allclose([cell["score"] for cell in content["cells"]], scores, rtol=1e-6)
    first = cv2.imread(str(tmp_path / "contact_sheet.png"))[..., ::-1]
    wrong = [
        red_pixels(first[top : top + TILE_PITCH[1], left : left + TILE_PITCH[0]]) > 500
        for top in range(HEADER_PX, first.shape[0], TILE_PITCH[1])
        for left in range(0, first.shape[1], TILE_PITCH[0])
    ]
    # Highest score first: the right ones, then the wrong ones.
    right = int((scores >= 0.5).sum())
    assert wrong == [False] * right + [True] * (SHEET_COLUMNS * SHEET_ROWS - right)
    assert cv2.imread(str(tmp_path / "contact_sheet_2.png")).shape[0] == HEADER_PX + TILE_PITCH[1]


def test_one_set_of_results_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        save_many(tmp_path / name, [0.2, 0.7, 0.7])
    files = [path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file()]
    assert len(files) == 8
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_cell_without_truth_is_never_wrong(tmp_path):
    cell = save_cell(make_result(0.1), Path("x.png"), tmp_path, "x", CLASSES)
    assert not cell.wrong
    assert cell.to_dict(tmp_path, CLASSES)["truth"] is None
    summary = save_overview([cell], tmp_path, CLASSES, {}).summary()
    assert summary == f"1 cells explained, 0 of 0 with a known class wrong: {tmp_path}"
