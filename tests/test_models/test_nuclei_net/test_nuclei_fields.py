"""What the nucleus network learns from: depth maps, files, synthetic fields, patches."""

import cv2
import numpy as np
import pytest

from ctc_mm.errors import AnnotationError
from ctc_mm.models.nuclei_net.fields import SOURCES, depth_map, make_field, read_fields
from ctc_mm.models.nuclei_net.patches import draw_batch, vary_light, warp_patch
from ctc_mm.models.nuclei_net.synthetic import EMPTY_EVERY, synthetic_fields


def disc_labels(shape, *discs):
    labels = np.zeros(shape, np.uint16)
    for number, (x, y, radius) in enumerate(discs, start=1):
        cv2.circle(labels, (x, y), radius, number, -1)
    return labels


def test_depth_of_no_object_is_zero():
    depth = depth_map(np.zeros((5, 7), np.uint16))
    assert depth.dtype == np.float32
    assert not depth.any()


def test_depth_is_1_in_the_middle_of_objects_of_any_size():
    labels = disc_labels((90, 120), (30, 40, 25), (80, 40, 4), (110, 80, 0))
    depth = depth_map(labels)
    assert [depth[labels == number].max() for number in (1, 2, 3)] == [1, 1, 1]
    assert np.unravel_index(depth.argmax(), depth.shape) == (40, 30)
    assert depth[40, 6] < 0.1  # outline of the large one
    assert np.array_equal(depth > 0, labels > 0)


def test_touching_objects_are_shallow_where_they_touch():
    labels = np.zeros((20, 40), np.uint16)
    labels[2:18, 2:20], labels[2:18, 20:38] = 1, 2
    depth = depth_map(labels)
    assert depth[10, 19] == depth[10, 20] < 0.1 < 0.9 < depth[10, 10]


def test_border_of_the_image_is_no_outline():
    labels = np.zeros((20, 20), np.uint16)
    labels[:, :8] = 1
    depth = depth_map(labels)
    assert depth[10, 0] == 1
    assert np.array_equal(depth[0], depth[19])
    assert depth_map(np.ones((4, 4), np.uint16)).tolist() == np.ones((4, 4)).tolist()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / SOURCES[0] / "images").mkdir(parents=True)
    (tmp_path / SOURCES[0] / "labels").mkdir()
    labels = disc_labels((60, 80), (30, 30, 10), (60, 30, 10))
    image = np.where(labels > 0, 900, 100).astype(np.uint16)
    cv2.imwrite(str(tmp_path / SOURCES[0] / "images" / "a.tif"), image)
    cv2.imwrite(str(tmp_path / SOURCES[0] / "labels" / "a.png"), labels)
    return tmp_path


def test_field_is_read_in_units_of_its_contrast(folder):
    (field,) = read_fields(folder, SOURCES[0])
    assert (field.name, field.source, field.background) == ("a", SOURCES[0], 100.0)
    assert np.unique(field.heights).tolist() == [0, 1]
    assert field.labels.max() == 2
    assert field.diameter_px == pytest.approx(20, abs=1)


def test_missing_images_and_wrong_labels_are_named(folder):
    with pytest.raises(FileNotFoundError, match=f"{SOURCES[1]}.*--data"):
        read_fields(folder, SOURCES[1])
    label_path = folder / SOURCES[0] / "labels" / "a.png"
    cv2.imwrite(str(label_path), np.zeros((60, 81), np.uint16))
    with pytest.raises(AnnotationError, match=r"a\.png.*\(60, 80\).*\(60, 81\)"):
        read_fields(folder, SOURCES[0])
    label_path.unlink()
    with pytest.raises(AnnotationError, match=r"a\.png.*Received: none"):
        read_fields(folder, SOURCES[0])


def test_synthetic_fields_follow_their_seed_and_some_are_empty():
    fields = synthetic_fields(EMPTY_EVERY + 2, seed=3)
    again = synthetic_fields(EMPTY_EVERY + 2, seed=3)
    assert all(np.array_equal(a.heights, b.heights) for a, b in zip(fields, again, strict=True))
    assert [field.labels.max() > 0 for field in fields] == [k % EMPTY_EVERY > 0 for k in range(EMPTY_EVERY + 2)]
    nuclei = fields[1].labels > 0
    assert fields[1].heights[nuclei].mean() > 5 * abs(fields[1].heights[~nuclei].mean())
    assert not np.array_equal(synthetic_fields(2, seed=4)[1].heights, fields[1].heights)


@pytest.mark.parametrize("seed", range(6))
def test_image_and_truth_of_a_patch_move_together(seed):
    """The image is the label image itself, so what the warp does to one it must do to the other."""
    labels = disc_labels((150, 150), (40, 40, 15), (100, 60, 20), (60, 110, 18))
    field = make_field("a", "synthetic", (labels > 0).astype(np.float32), labels)
    heights, warped, depth = warp_patch(field, 96, np.random.default_rng(seed))
    assert heights.shape == warped.shape == depth.shape == (96, 96)
    assert np.mean((heights > 0.5) != (warped > 0)) < 0.02
    assert depth[warped == 0].mean() < 0.01
    assert set(np.unique(warped)) <= {0, 1, 2, 3}


def test_light_varies_but_places_do_not():
    labels = disc_labels((64, 64), (32, 32, 14))
    heights = (labels > 0).astype(np.float32)
    varied = [vary_light(heights, labels, np.random.default_rng(seed)) for seed in range(30)]
    contrasts = np.array([image[labels > 0].mean() - image[labels == 0].mean() for image in varied])
    assert contrasts.min() > 0
    assert contrasts.std() > 0.2
    assert all(image.shape == (64, 64) and np.isfinite(image).all() for image in varied)


def test_batches_follow_their_generator():
    groups = [synthetic_fields(2, seed=0), synthetic_fields(3, seed=1)]
    batches = [draw_batch(groups, [0.5, 0.5], 4, 64, np.random.default_rng(seed)) for seed in (7, 7, 8)]
    assert batches[0][0].shape == batches[0][1].shape == (4, 2, 64, 64)
    assert batches[0][0].dtype == batches[0][1].dtype == np.float32
    np.testing.assert_array_equal(batches[0][0], batches[1][0])
    assert not np.array_equal(batches[0][0], batches[2][0])
    assert 0 <= batches[0][1].min() <= batches[0][1].max() <= 1
