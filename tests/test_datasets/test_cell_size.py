import numpy as np
import pytest

from ctc_mm.datasets.cell_size import measure_diameter_px


def sizes_of(dataset):
    infos = map(dataset.get_data_info, range(len(dataset)))
    return [(info["diameter_um"], info["diameter_px"]) for info in infos]


def disc(diameter_px, side=60, dtype=np.uint8, level=60, background=150):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    image = np.where(np.hypot(y, x) <= diameter_px / 2, level, background)
    return image.astype(dtype)


AREA = np.pi * 25  # of a disc 10 px across


@pytest.mark.parametrize(
    ("columns", "um_per_px", "expected", "source"),
    [
        ({}, 0.5, (None, None), None),
        ({"diameter_um": 7.5}, None, (7.5, None), "diameter_um"),
        ({"diameter_um": 7.5}, 0.5, (7.5, 15), "diameter_um"),
        ({"diameter_px": 10.0, "area_px": 9}, None, (None, 10), "diameter_px"),
        ({"area_px": AREA}, 0.5, (5, 10), "area_px"),
        ({"area_um2": AREA}, 0.5, (10, 20), "area_um2"),
        ({"crop_px": 30}, 0.5, (6, 12), "box"),  # 16 x 9 px
        ({"diameter_um": "?"}, 0.5, (None, None), None),
        ({"diameter_um": 0.0}, 0.5, (None, None), None),
    ],
    ids=["nothing", "um", "um_and_scale", "px", "area_px", "area_um2", "box", "text", "zero"],
)
def test_sources(write_cells, build_cells, columns, um_per_px, expected, source):
    fields = {"extra": columns, "um_per_px": um_per_px, "box_xyxy": (3, 4, 19, 13)}
    cells = [{"cell_id": name, "label": label} | fields for name, label in (("a", "CTC"), ("b", "WBC"))]
    dataset = build_cells(write_cells(cells))
    assert dataset.metainfo["size_source"] == source
    assert sizes_of(dataset) == [tuple(None if one is None else pytest.approx(one, rel=1e-6) for one in expected)] * 2


def test_a_set_has_one_source_that_knows_most(write_cells, build_cells):
    columns = [{"diameter_um": 9.0, "area_px": AREA}, {"area_px": AREA}, {}]
    cells = [
        {"cell_id": name, "label": label, "extra": extra, "split": split}
        for name, label, extra, split in zip(
            "abc", ("CTC", "WBC", "WBC"), columns, ("train", "train", "test"), strict=True
        )
    ]
    root = write_cells(cells)
    for split in ("train", "test"):  # the source is that of the table
        assert build_cells(root, split=split, test_mode=True).metainfo["size_source"] == "area_px"
    assert sizes_of(build_cells(root)) == [(None, pytest.approx(10)), (None, pytest.approx(10)), (None, None)]


def test_twins_share_their_size(write_cells, build_cells):
    cells = [
        {"cell_id": "a", "label": "CTC", "channel": "brightfield", "extra": {"diameter_px": 12.0}},
        {"cell_id": "a", "label": "CTC", "channel": "dapi"},
        {"cell_id": "b", "label": "WBC", "channel": "dapi"},
    ]
    assert sizes_of(build_cells(write_cells(cells))) == [(None, 12), (None, 12), (None, None)]


def test_size_measured_in_the_images(write_cells, build_cells):
    """Bright field where there is one, for the DAPI image too: its nucleus is smaller than the cell."""
    diameters = {("a", "brightfield"): 30, ("a", "dapi"): 20, ("b", "brightfield"): 16, ("c", "dapi"): 20}

    def draw(number, fields):
        is_dark = fields["channel"] == "brightfield"
        levels = (60, 150) if is_dark else (200, 10)
        return disc(diameters[fields["cell_id"], fields["channel"]], level=levels[0], background=levels[1])

    cells = [
        {"cell_id": cell, "label": "CTC" if cell == "a" else "WBC", "channel": channel, "um_per_px": 0.5}
        for cell, channel in diameters
    ]
    root = write_cells(cells, image=draw)
    dataset = build_cells(root, size_from="image")
    assert dataset.metainfo["size_source"] == "image (brightfield)"
    (a_um, a_px), twin, (_, b_px), unknown = sizes_of(dataset)
    assert a_px == pytest.approx(30, abs=1.5)
    assert a_um == a_px * 0.5
    assert twin == (a_um, a_px)
    assert b_px == pytest.approx(16, abs=1.5)
    assert unknown == (None, None)
    assert build_cells(root).metainfo["size_source"] is None
    # Measured only where the table knows nothing.
    assert sizes_of(build_cells(root, size_from="auto_or_image")) == sizes_of(dataset)
    known = [dict(cell, extra={"diameter_um": 7.0}) for cell in cells]
    root = write_cells(known, name="known", image=draw)
    assert build_cells(root, size_from="auto_or_image").metainfo["size_source"] == "diameter_um"


@pytest.mark.parametrize(
    "image",
    [np.zeros((1, 1), np.uint8), np.full((20, 20), 90, np.uint16), np.zeros((9, 9), np.float32)],
    ids=["one_pixel", "constant", "zero"],
)
def test_nothing_in_the_image(image):
    assert measure_diameter_px(image, "bright_field") is None
    assert measure_diameter_px(image, "fluorescence") is None


@pytest.mark.parametrize("diameter_px", [8, 15, 30, 44])
def test_measured_discs_of_any_depth(diameter_px):
    for kind, levels in (("bright_field", (60, 150)), ("bright_field", (220, 150)), ("fluorescence", (200, 10))):
        image = disc(diameter_px, level=levels[0], background=levels[1])
        measured = measure_diameter_px(image, kind)
        assert measured == pytest.approx(diameter_px, abs=2)
        for version in (
            image.astype(np.uint16) * 257,
            (image / 255).astype(np.float32),
            np.stack([image] * 3, axis=-1),
        ):
            assert measure_diameter_px(version, kind) == pytest.approx(measured, rel=0.02)


def test_a_ring_is_filled_and_a_neighbour_is_not_counted():
    y, x = np.mgrid[:60, :60] - 29.5
    ring = np.abs(np.hypot(y, x) - 9) < 2
    neighbour = np.hypot(y + 22, x + 22) < 6
    image = np.where(ring | neighbour, 60, 150).astype(np.uint8)
    assert measure_diameter_px(image, "bright_field") == pytest.approx(22, abs=2)
