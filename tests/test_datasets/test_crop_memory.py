from pathlib import Path

import numpy as np
import pytest

from ctc_mm.datasets.cell_records import CellRecord
from ctc_mm.datasets.crop_memory import describe_crops
from ctc_mm.datasets.single_cell_dataset import SingleCellDataset
from ctc_mm.formats.brightfield_cells import BrightfieldOptions, convert_brightfield
from ctc_mm.formats.coco_cells import CocoCellOptions, cut_cells
from ctc_mm.imaging.io import write_image
from ctc_mm.phantoms import BrightfieldPhantomConfig, generate_field
from ctc_mm.structures import CellBox, LabelledImage, LabelledSet


def record(um_per_px=None, **extra):
    return CellRecord(
        path=Path("a.png"), label="CTC", cell_id="a", channel="bf", source="", um_per_px=um_per_px, extra=extra
    )


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], {}),
        ([record()], {}),
        ([record(crop_px="30", crop_normalized="cells")] * 2, {"px": 30, "normalized": "cells"}),
        ([record(crop_px="30"), record(crop_px="31")], {}),
        ([record(0.5, crop_px="30"), record(0.25, crop_px="60")], {"um": 15.0}),
        ([record(0.5, crop_px="30"), record(0.5, crop_px="60")], {}),
        ([record(crop_px="20", crop_margin="0.1"), record(crop_px="31", crop_margin="0.1")], {"margin": 0.1}),
        ([record(crop_px="30", crop_normalized="no"), record(crop_px="30", crop_normalized="cells")], {"px": 30}),
        ([record(crop_px="30"), record()], {}),
    ],
)
def test_what_all_cells_share_is_remembered(records, expected):
    assert describe_crops(records) == expected


def test_sets_of_the_converters_tell_how_they_were_cut(tmp_path):
    config = BrightfieldPhantomConfig(image_wh=(300, 260), um_per_px=0.6, ctc_count=(2, 2), wbc_count=(6, 6))
    image = generate_field(config, np.random.default_rng(1), blank=False).image
    write_image(tmp_path / "raw" / "a.png", image)
    convert_brightfield(tmp_path / "raw", tmp_path / "cells", BrightfieldOptions(um_per_px=0.6, crop_px=24))
    boxes = (CellBox((20, 20, 40, 50), "CTC"), CellBox((100, 90, 130, 120), "WBC"))
    labelled = LabelledSet(("CTC", "WBC"), (LabelledImage("a.png", (300, 260), boxes),))
    cut_cells(labelled, tmp_path / "raw", tmp_path / "boxes", CocoCellOptions(margin=0.2))
    cut_cells(labelled, tmp_path / "raw", tmp_path / "px", CocoCellOptions(crop_px=40, normalize=True))

    def remembered(folder, **arguments):
        data = SingleCellDataset(str(tmp_path / folder), test_mode=True, pipeline=[], **arguments)
        return data.metainfo["crop"]

    found = remembered("cells", metainfo={"classes": ("unlabelled",)}, label_map={"unlabelled": "unlabelled"})
    assert found == {"px": 24, "normalized": "cells"}
    assert remembered("boxes") == {"margin": 0.2, "normalized": "no"}
    assert remembered("px") == {"px": 40, "normalized": "border"}
