"""What of a slide the detector route could not look at: damage, and what a model leaves out; gaps are no loss."""

import cv2
import numpy as np
import pytest
import tifffile
from blob_engine import BlobEngine, blob_route, blob_slide, count, file_spec

from ctc_mm.counting.count_card import make_card
from ctc_mm.counting.engines.base import WindowDetections
from ctc_mm.counting.records import Drop
from ctc_mm.imaging.io import write_ome_tiff


def found(slide_count):
    return sorted((one.box_xyxy, one.class_name) for one in slide_count.cells)


def corrupt_tile(path, number):
    """Overwrite the data of one TIFF tile, which deflate notices."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        offset, size = page.dataoffsets[number], page.databytecounts[number]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("tile_px", [150, 1024])
def test_damage_costs_the_windows_that_show_it(tmp_path, tile_px):
    image, truth = blob_slide((700, 600))
    path = tmp_path / "damaged.tif"
    tifffile.imwrite(path, image, tile=(256, 256), compression="zlib")
    corrupt_tile(path, 4)  # x and y from 256 to 512
    result = count(blob_route(tile_px=tile_px), file_spec(path, um_per_px=1.0))
    blocks, windows = result.drops
    assert isinstance(windows, Drop)
    assert (blocks.kind, blocks.count, blocks.regions_xyxy) == ("block", 1, ((256, 256, 512, 512),))
    assert windows.kind == "window"
    assert windows.area_px == result.area.dropped_px >= 256 * 256
    assert result.area.total_px == 700 * 600
    assert not result.is_complete
    cores = np.array(windows.regions_xyxy)
    left = []
    for box, label in truth:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        lost = (cores[:, 0] <= x) & (x < cores[:, 2]) & (cores[:, 1] <= y) & (y < cores[:, 3])
        if not lost.any():
            left.append((box, ("CTC", "WBC")[label]))
    assert found(result) == sorted(left)
    assert len(left) < len(truth)


def test_gaps_of_a_mosaic_are_no_analysed_area(tmp_path):
    image, truth = blob_slide((400, 200))
    for name, part in (("a.png", image[:, :150]), ("b.png", image[:, 250:])):
        cv2.imwrite(str(tmp_path / name), part)
    (tmp_path / "positions.csv").write_text("file,x_px,y_px\na.png,0,0\nb.png,250,0\n")
    result = count(blob_route(), file_spec(tmp_path, um_per_px=1.0))
    assert result.size_wh == (400, 200)
    assert (result.area.total_px, result.area.gap_px) == (300 * 200, 100 * 200)
    assert result.area.share == 1
    assert result.is_complete
    assert [(one.kind, one.area_px, one.regions_xyxy) for one in result.drops] == [
        ("gap", 20_000, ((150, 0, 250, 200),))
    ]
    whole = {(box, ("CTC", "WBC")[label]) for box, label in truth if box[2] < 150 or box[0] >= 250}
    assert whole <= set(found(result))
    assert all(x1 <= 150 or x0 >= 250 for (x0, _, x1, _), _ in found(result))


def test_a_resampled_mosaic_is_whole(tmp_path):
    image, _ = blob_slide((395, 201))
    fields = {"a.png": (0, 0, 187, 201), "b.png": (187, 0, 395, 99)}
    for name, (x0, y0, x1, y1) in fields.items():
        cv2.imwrite(str(tmp_path / name), image[y0:y1, x0:x1])
    lines = [f"{name},{box[0]},{box[1]}" for name, box in fields.items()]
    (tmp_path / "positions.csv").write_text("\n".join(["file,x_px,y_px", *lines]) + "\n")
    result = count(blob_route(resample=True), file_spec(tmp_path, um_per_px=0.7))
    assert result.is_complete
    assert result.area.share == 1
    assert result.area.gap_px == pytest.approx(208 * 102, rel=0.02)
    assert result.area.total_px + result.area.gap_px == 395 * 201


class LimitedEngine(BlobEngine):
    """Gives the best ``max_per_img`` boxes of a window, as MMDetection's ``test_cfg`` has it."""

    def __call__(self, batch):
        found = super().__call__(batch)
        best = [np.argsort(-one.scores, kind="stable")[: self.info.max_per_img] for one in found]
        return [WindowDetections(*(values[kept] for values in one)) for one, kept in zip(found, best, strict=True)]


@pytest.mark.parametrize("tile_px", [150, 1024])
def test_a_models_limit_on_boxes_is_told(tmp_path, tile_px):
    image, truth = blob_slide()
    path = tmp_path / "slide.ome.tif"
    write_ome_tiff(path, image[None], ("brightfield",), 1.0)
    limited, free = (
        count(blob_route(LimitedEngine(max_per_img=most), tile_px=tile_px), file_spec(path)) for most in (4, 1000)
    )
    assert len(free.cells) == len(truth) > len(limited.cells)
    n_full = make_card(limited)["thresholds"]["windows_at_max_per_img"]
    assert 0 < n_full <= limited.thresholds["windows"]
    (note,) = [note for note in limited.notes if "max_per_img" in note]
    assert note.startswith(f"in {n_full} windows the model found 4 objects")
    assert "--cfg-options model.test_cfg.max_per_img=40 " in note
    assert (free.thresholds["max_per_img"], free.thresholds["windows_at_max_per_img"]) == (1000, 0)
    assert not any("max_per_img" in note for note in free.notes)


def test_boxes_that_do_not_count_fill_no_window(tmp_path):
    image, _ = blob_slide()
    path = tmp_path / "slide.ome.tif"
    write_ome_tiff(path, image[None], ("brightfield",), 1.0)
    strict = LimitedEngine(max_per_img=4, thresholds={"CTC": 1.0, "WBC": 1.0})
    result = count(blob_route(strict, doubt=1.0), file_spec(path))
    assert (result.cells, result.thresholds["windows_at_max_per_img"]) == ((), 0)
