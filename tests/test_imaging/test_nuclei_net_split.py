"""From the network's maps to nuclei: what is one, what is two, and who gets the pixels between."""

import cv2
import numpy as np
import pytest

from ctc_mm.imaging import nuclei_net_split as split


def cone(shape, x, y, radius):
    """Depth of a disc: 1 in the middle, 0 on the outline, negative outside."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (1 - np.hypot(columns - x, rows - y) / radius).astype(np.float32)


def maps(shape, *discs):
    depth = np.max([cone(shape, *disc) for disc in discs], axis=0)
    return depth > 0, np.maximum(depth, 0)


def test_empty_maps_hold_nothing():
    for shape in ((1, 1), (40, 30)):
        labels = split.label_nuclei(np.zeros(shape, bool), np.zeros(shape, np.float32))
        assert labels.shape == shape
        assert labels.dtype == np.int32
        assert not labels.any()


def test_full_map_is_one_nucleus():
    labels = split.label_nuclei(np.ones((20, 30), bool), np.ones((20, 30), np.float32))
    assert np.unique(labels).tolist() == [1]


def test_one_disc_is_one_nucleus():
    nucleus, depth = maps((40, 40), (20, 20, 12))
    np.testing.assert_array_equal(split.label_nuclei(nucleus, depth), nucleus.astype(np.int32))


@pytest.mark.parametrize(("distance", "number"), [(4, 1), (18, 2), (22, 2)], ids=["bulge", "touching", "barely"])
def test_two_discs_are_two_nuclei_if_the_way_between_leads_down(distance, number):
    nucleus, depth = maps((50, 60), (20, 25, 12), (20 + distance, 25, 12))
    assert cv2.connectedComponents(nucleus.astype(np.uint8))[0] == 2
    labels = split.label_nuclei(nucleus, depth)
    assert labels.max() == number
    np.testing.assert_array_equal(labels > 0, nucleus)


def test_outline_between_two_nuclei_lies_where_the_depth_is_least():
    nucleus, depth = maps((60, 80), (25, 30, 16), (49, 30, 9))
    labels = split.label_nuclei(nucleus, depth)
    nearer_first = cone((60, 80), 25, 30, 16) > cone((60, 80), 49, 30, 9)
    wrong = nucleus & (labels != np.where(nearer_first, 1, 2))
    assert labels.max() == 2
    assert wrong.sum() <= 8


def test_shallow_component_is_no_nucleus():
    nucleus, depth = maps((40, 40), (20, 20, 12))
    assert split.label_nuclei(nucleus, depth * (split.LEAST_PEAK - 0.01)).max() == 0
    assert split.label_nuclei(nucleus, depth * (split.LEAST_PEAK + 0.05)).max() == 1


def test_small_component_is_no_nucleus():
    mask = np.zeros((20, 20), bool)
    mask[5:9, 5:9] = True
    assert mask.sum() < split.MIN_AREA_PX
    assert split.label_nuclei(mask, mask.astype(np.float32)).max() == 0
    mask[5:10, 5:9] = True
    assert split.label_nuclei(mask, mask.astype(np.float32)).max() == 1


def test_chain_of_nuclei_falls_into_all_of_them():
    discs = [(15 + 17 * k, 20, 10) for k in range(6)]
    nucleus, depth = maps((40, 120), *discs)
    labels = split.label_nuclei(nucleus, depth)
    assert [labels[y, x] for x, y, _ in discs] == sorted({labels[y, x] for x, y, _ in discs})
    assert labels.max() == 6


def test_cores_of_one_component_do_not_reach_into_its_box_neighbours():
    """A small nucleus lies within the box of a bent pair without touching it."""
    shape = (70, 70)
    pair, pair_depth = maps(shape, (15, 15, 11), (15, 33, 11), (15, 51, 11), (33, 51, 11))
    alone, alone_depth = maps(shape, (38, 20, 8))
    assert not (cv2.dilate(pair.astype(np.uint8), np.ones((3, 3))) & alone).any()
    labels = split.label_nuclei(pair | alone, np.maximum(pair_depth, alone_depth))
    assert labels.max() == 5
    assert np.unique(labels[alone]).size == 1
    assert not np.isin(labels[pair], labels[20, 38]).any()


def test_a_component_is_settled_by_its_own_pixels():
    """Cut out with the rest of the field gone, it looks the same."""
    shape = (80, 160)
    left, left_depth = maps(shape, (20, 30, 12), (38, 36, 12))
    right, right_depth = maps(shape, (100, 40, 14), (122, 44, 10), (110, 60, 9))
    together = split.label_nuclei(left | right, np.maximum(left_depth, right_depth))
    alone = split.label_nuclei(right[:, 80:], right_depth[:, 80:])
    pairs = set(zip(together[:, 80:].ravel().tolist(), alone.ravel().tolist(), strict=True))
    assert together.max() == 5
    assert len(pairs) == alone.max() + 1 == 4


def test_numbers_follow_the_first_pixel_and_small_objects_are_left_out():
    labels = np.zeros((6, 8), np.int32)
    labels[0, 6:] = 7
    labels[1:4, 0:3] = 3
    labels[1:4, 5:8] = 9
    labels[5, 0] = 1
    numbered = split.number_by_first_pixel(labels, 2)
    assert (numbered[0, 6], numbered[1, 0], numbered[1, 5], numbered[5, 0]) == (1, 2, 3, 0)
    assert numbered.max() == 3
