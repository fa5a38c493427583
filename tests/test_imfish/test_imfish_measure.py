"""Measures of nuclei on label images of any kind, also such as no segmentation would give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imfish_images import UM_PER_PX

from ctc_mm.imaging.io import field_from_arrays
from ctc_mm.imfish import classify_field
from ctc_mm.imfish.measure import Piece, measure_nuclei

KINDS = ("empty", "pixel", "full", "blobs", "scattered")


@pytest.fixture(scope="module")
def thresholds():
    """Of an empty field; only sizes in pixels matter here."""
    plane = np.random.default_rng(0).integers(90, 110, (64, 64)).astype(np.uint8)
    return classify_field(field_from_arrays(dict(dapi=plane, cep8=plane, cd45=plane), um_per_px=UM_PER_PX)).thresholds


def label_image(kind, shape, rng):
    """Labels without gaps in the order of their first pixel."""
    labels = np.zeros(shape, np.int32)
    if kind == "pixel":
        labels[tuple(rng.integers(0, shape))] = 1
    elif kind == "full":
        labels[:] = 1
    elif kind == "blobs":
        labels = np.kron(rng.integers(0, 4, (-(-shape[0] // 5), -(-shape[1] // 5))), np.ones((5, 5), int))
        labels = labels[: shape[0], : shape[1]].astype(np.int32)
    elif kind == "scattered":
        labels = rng.integers(0, 6, shape).astype(np.int32)
    ids, first = np.unique(labels, return_index=True)
    order = [int(value) for value in ids[np.argsort(first)] if value > 0]
    return sum((np.int32(number) * (labels == value) for number, value in enumerate(order, start=1)), 0 * labels)


def piece_of(labels, planes, spots):
    return Piece(labels, *planes, spots.astype(np.float32), (0, 0), labels.shape[::-1])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    seed=st.integers(0, 999),
)
def test_any_label_image_is_measured(thresholds, kind, height, width, dtype, seed):
    rng = np.random.default_rng(seed)
    labels = label_image(kind, (height, width), rng)
    planes = rng.integers(0, 255, (3, height, width)).astype(dtype)
    spots = np.stack([rng.uniform(-0.5, height - 0.5, 5), rng.uniform(-0.5, width - 0.5, 5), np.full(5, 9.0)], axis=1)
    found = measure_nuclei(piece_of(labels, planes, spots), thresholds)
    assert len(found) == labels.max()
    for label, one in enumerate(found, start=1):
        ys, xs = np.nonzero(labels == label)
        assert one.first_yx == (ys[0], xs[0])
        assert one.box_xyxy == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert one.area_px == len(ys)
        assert one.centroid_yx == pytest.approx((ys.mean(), xs.mean()))
        assert one.on_border == (min(ys.min(), xs.min()) == 0 or ys.max() == height - 1 or xs.max() == width - 1)
        assert 0 < one.solidity <= 1
        assert 0 <= one.bright_share <= 1
        assert one.edge_px is None or one.edge_px >= 0
        assert one.group >= 1
        assert one.cd45_ring is None or not (labels > 0).all()
        assert len(one.spots_yx) == len(one.spots_snr) == len(one.spots_height)
    # No signal belongs to two nuclei, and each that lies in one belongs to it.
    inside = labels[tuple(np.floor(spots[:, :2] + 0.5).astype(int).T)]
    assert inside.astype(bool).sum() <= sum(len(one.spots_yx) for one in found) <= len(spots)
    for label, one in enumerate(found, start=1):
        own = {tuple(spot) for spot in spots[inside == label, :2].astype(np.float32).tolist()}
        assert own <= set(one.spots_yx)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(kind=st.sampled_from(KINDS), turns=st.integers(0, 3), mirrored=st.booleans(), seed=st.integers(0, 999))
def test_turned_label_images_have_the_same_measures(thresholds, kind, turns, mirrored, seed):
    rng = np.random.default_rng(seed)
    labels = label_image(kind, (30, 45), rng)
    planes = rng.integers(0, 4096, (3, 30, 45)).astype(np.uint16)

    def measures(turn):
        turned = [np.ascontiguousarray(turn(plane)) for plane in (labels, *planes)]
        found = measure_nuclei(piece_of(turned[0], turned[1:], np.zeros((0, 3))), thresholds)
        return sorted((one.area_px, one.group, one.on_border, one.dapi, one.cep8, one.solidity) for one in found)

    def turned_view(plane):
        return np.rot90(plane[:, ::-1] if mirrored else plane, turns)

    assert measures(turned_view) == measures(np.asarray)
