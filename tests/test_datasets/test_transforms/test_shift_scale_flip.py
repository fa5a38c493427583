"""Geometry proven by drawing: a box painted into the image is found again where the moved box says."""

import random

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.dataset import Compose

from ctc_mm.registry import TRANSFORMS

WIDTH, HEIGHT = 300, 240
OFF = dict(shift_prob=0.0, scale_prob=0.0, flip_prob=0.0, mirror_prob=0.0)


def build(**kwargs):
    return TRANSFORMS.build(dict(type="ctc_mm.ShiftScaleFlip", **kwargs))


def painted(boxes, labels=None, **extra):
    """A mid-grey image with box i painted in grey value 10 * (i + 1) on every channel; the results dict around it."""
    image = np.full((HEIGHT, WIDTH, 3), 200, np.float32)
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        image[y0:y1, x0:x1] = 10 * (index + 1)
    return dict(
        img=image,
        gt_bboxes=HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        gt_bboxes_labels=np.array(labels if labels is not None else np.arange(len(boxes)), np.int64),
        gt_ignore_flags=np.zeros(len(boxes), bool),
        img_shape=(HEIGHT, WIDTH),
        um_per_px=0.6,
        **extra,
    )


def found_box(image, value, tolerance=4.0):
    ys, xs = np.nonzero(np.abs(image[..., 0] - value) < tolerance)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


BOXES = [(100, 90, 131, 112), (150, 60, 180, 101), (60, 130, 90, 160), (180, 140, 221, 170)]


def test_blank_image_keeps_its_empty_boxes_and_moves():
    results = build(shift_prob=1.0)(painted([]))
    assert results["gt_bboxes"].tensor.shape == (0, 4)
    assert results["gt_bboxes_labels"].shape == (0,)
    assert results["gt_ignore_flags"].shape == (0,)
    assert results["dropped_cells"] == 0
    only_image = build()(dict(img=np.full((8, 6), 9, np.uint8)))
    np.testing.assert_array_equal(only_image["img"], np.full((8, 6), 9, np.uint8))


@pytest.mark.parametrize("flip_prob", [0.0, 1.0])
@pytest.mark.parametrize("mirror_prob", [0.0, 1.0])
@pytest.mark.parametrize("shift_prob", [0.0, 1.0])
def test_flip_mirror_and_shift_move_boxes_exactly(shift_prob, mirror_prob, flip_prob):
    random.seed(3)
    transform = build(scale_prob=0.0, shift_prob=shift_prob, mirror_prob=mirror_prob, flip_prob=flip_prob)
    results = transform(painted(BOXES, labels=[1, 0, 1, 0]))
    assert results["img"].shape == (HEIGHT, WIDTH, 3)
    assert len(results["gt_bboxes"]) == 4
    for index, box in enumerate(results["gt_bboxes"].tensor.tolist()):
        assert box == found_box(results["img"], 10 * (index + 1))
    np.testing.assert_array_equal(results["gt_bboxes_labels"], [1, 0, 1, 0])
    assert not results["gt_ignore_flags"].any()
    moved = not np.array_equal(results["img"], painted(BOXES)["img"])
    assert moved == bool(shift_prob + mirror_prob + flip_prob)
    assert results["um_per_px"] == pytest.approx(0.6)


@pytest.mark.parametrize("seed", range(8))
def test_everything_together_finds_each_cell_within_a_pixel(seed):
    random.seed(seed)
    results = build(shift_prob=1.0, scale_prob=1.0, shift_px=(30, 20))(painted(BOXES))
    x_scale = (results["gt_bboxes"].widths.numpy() / (np.array(BOXES)[:, 2] - np.array(BOXES)[:, 0])).mean()
    assert 0.49 < x_scale < 0.71
    for box, moved in zip(BOXES, results["gt_bboxes"].tensor.tolist(), strict=True):
        random.seed(seed)  # each box alone: blended edges of others could take its grey value
        alone = build(shift_prob=1.0, scale_prob=1.0, shift_px=(30, 20))(painted([box]))
        np.testing.assert_allclose(moved, found_box(alone["img"], 10), atol=1.01)
    assert results["um_per_px"] == pytest.approx(0.6 / x_scale, rel=0.01)
    # The homography says the same of the corners, with the sides exchanged by flips.
    corners = np.array(BOXES, float).reshape(-1, 2, 2)
    mapped = np.concatenate([corners, np.ones((4, 2, 1))], axis=2) @ results["homography_matrix"].T
    expected = np.concatenate([mapped[..., :2].min(axis=1), mapped[..., :2].max(axis=1)], axis=1)
    np.testing.assert_allclose(results["gt_bboxes"].tensor.numpy(), expected, atol=1e-3)


def test_shift_is_40_and_60_px_in_both_directions():
    offsets = set()
    for seed in range(30):
        random.seed(seed)
        results = build(**{**OFF, "shift_prob": 1.0})(painted(BOXES[:1]))
        offsets.add(tuple((results["gt_bboxes"].tensor[0, :2] - torch.tensor([100.0, 90.0])).tolist()))
    assert offsets == {(40, 60), (-40, 60), (40, -60), (-40, -60)}


def test_uncovered_part_takes_the_background_not_black():
    random.seed(0)
    results = build(**{**OFF, "scale_prob": 1.0})(painted(BOXES[:1]))
    assert results["img"][0, 0, 0] == 200
    assert results["img"].min() >= 10


@pytest.mark.parametrize(
    ("box", "visible"),
    [
        ((240, 100, 270, 130), 20 / 30),
        ((245, 100, 275, 130), 15 / 30),
        ((247, 100, 277, 130), 13 / 30),
        ((262, 100, 300, 130), 0),
    ],
)
def test_cells_less_than_half_inside_become_ignored_and_are_counted(box, visible):
    for seed in range(40):  # the first seed that shifts to the right
        random.seed(seed)
        results = build(**{**OFF, "shift_prob": 1.0}, shift_px=(40, 0))(painted([box, BOXES[0]]))
        if results["gt_bboxes"].tensor[-1, 0] == 140:
            break
    kept, shown = visible >= 0.5, visible > 0
    assert results["dropped_cells"] == int(not kept)
    np.testing.assert_array_equal(results["gt_bboxes_labels"], [0, 1] if shown else [1])
    np.testing.assert_array_equal(results["gt_ignore_flags"], [not kept, False] if shown else [False])
    if shown:
        assert results["gt_bboxes"].tensor[0].tolist() == found_box(results["img"], 10)
        assert results["gt_bboxes"].tensor[0, 2] == WIDTH, "clipped to the image"


def test_ignore_regions_stay_ignored_and_are_no_dropped_cells():
    for seed in range(40):
        random.seed(seed)
        results = painted([(247, 100, 277, 130), BOXES[0]])
        results["gt_ignore_flags"][0] = True
        results["dropped_cells"] = 5
        results = build(**{**OFF, "shift_prob": 1.0}, shift_px=(40, 0))(results)
        if results["gt_bboxes"].tensor[-1, 0] == 140:
            break
    np.testing.assert_array_equal(results["gt_ignore_flags"], [True, False])
    assert results["dropped_cells"] == 5, "earlier counts are kept, ignore regions add none"


@pytest.mark.parametrize("kind", ["bitmap", "polygon"])
@pytest.mark.parametrize("seed", range(4))
def test_masks_move_with_their_boxes(kind, seed):
    results = painted(BOXES)
    bitmaps = np.zeros((4, HEIGHT, WIDTH), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(bitmaps, BOXES, strict=True):
        mask[y0:y1, x0:x1] = 1
    if kind == "bitmap":
        results["gt_masks"] = BitmapMasks(bitmaps, HEIGHT, WIDTH)
    else:
        polygons = [[np.array([x0, y0, x1, y0, x1, y1, x0, y1], float)] for x0, y0, x1, y1 in BOXES]
        results["gt_masks"] = PolygonMasks(polygons, HEIGHT, WIDTH)
    random.seed(seed)
    results = build(shift_px=(90, 70), shift_prob=1.0)(results)
    assert len(results["gt_masks"]) == len(results["gt_bboxes"])
    assert (results["gt_masks"].height, results["gt_masks"].width) == (HEIGHT, WIDTH)
    from_masks = results["gt_masks"].get_bboxes(dst_type="hbox").tensor.numpy()
    np.testing.assert_allclose(from_masks, results["gt_bboxes"].tensor.numpy(), atol=1.01)
    no_masks = painted([], gt_masks=BitmapMasks(np.zeros((0, HEIGHT, WIDTH), np.uint8), HEIGHT, WIDTH))
    assert len(build()(no_masks)["gt_masks"]) == 0


def test_numpy_boxes_and_grey_single_channel_images_are_accepted():
    results = painted(BOXES)
    results["gt_bboxes"] = results["gt_bboxes"].numpy()
    results["img"] = results["img"][..., :1]
    random.seed(1)
    results = build(**{**OFF, "scale_prob": 1.0, "mirror_prob": 1.0})(results)
    assert isinstance(results["gt_bboxes"], np.ndarray)
    assert results["img"].shape == (HEIGHT, WIDTH, 1)
    np.testing.assert_allclose(results["gt_bboxes"][0], found_box(results["img"], 10), atol=1.01)


def test_input_image_is_not_changed_and_seeds_repeat():
    first = painted(BOXES)
    image = first["img"]
    before = image.copy()
    outputs = []
    for _ in range(2):
        random.seed(9)
        outputs.append(build()(dict(first, gt_bboxes=first["gt_bboxes"].clone())))
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(outputs[0]["img"], outputs[1]["img"])
    assert first["gt_bboxes"].tensor.tolist() == [list(map(float, box)) for box in BOXES]


def test_remains_reach_the_model_as_ignored_instances():
    pipeline = Compose(
        [
            dict(type="ctc_mm.ShiftScaleFlip", **{**OFF, "shift_prob": 1.0}, shift_px=(40, 0)),
            dict(type="mmdet.PackDetInputs", meta_keys=("img_shape", "dropped_cells")),
        ]
    )
    samples = []
    for seed in range(20):
        random.seed(seed)
        samples.append(pipeline(painted([(247, 100, 277, 130), BOXES[0]]))["data_samples"])
    dropped = [sample for sample in samples if sample.dropped_cells]
    assert 0 < len(dropped) < 20
    assert all(len(s.gt_instances) == 1 and len(s.ignored_instances) == 1 for s in dropped)
    assert all(len(s.gt_instances) == 2 for s in samples if not s.dropped_cells)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shift_px": (40,)},
        {"shift_px": (-1, 3)},
        {"shift_px": (0.5, 3)},
        {"scale_range": (0.7, 0.5)},
        {"scale_range": (0, 0.5)},
        {"scale_range": (0.5, 1.5)},
        {"flip_prob": 1.2},
        {"mirror_prob": -0.1},
        {"min_visible": 2},
    ],
    ids=str,
)
def test_wrong_parameters_are_named(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be .*received"):
        build(**wrong)


def test_segmentation_maps_are_refused_rather_than_left_behind():
    with pytest.raises(ValueError, match="gt_seg_map"):
        build()(painted(BOXES, gt_seg_map=np.zeros((HEIGHT, WIDTH))))


def test_repr_names_every_parameter():
    text = repr(build(scale_range=(0.5, 0.6)))
    assert "shift_px=(40, 60)" in text
    assert "scale_range=(0.5, 0.6)" in text
    assert "min_visible=0.5" in text
