import numpy as np
import pytest

from ctc_mm.datasets.split_files import read_split_file
from ctc_mm.datasets.split_table import split_table
from ctc_mm.datasets.split_units import LeakWarning
from ctc_mm.errors import AnnotationError, ConfigError, LeakError
from ctc_mm.formats.cell_set import CellSetWriter, read_cells_csv

CELLS = [
    {"cell_id": f"c{n:02d}", "label": "CTC" if n % 4 < 2 else "WBC", "group": f"P{n // 4}", "channel": channel,
     "um_per_px": 0.5, "extra": {"slide": f"S{n // 8}", "area_px": 100 + n}}
    for n in range(40) for channel in ("brightfield", "dapi")
]  # fmt: skip
UNUSED = [
    {"cell_id": "x", "label": "CTC", "keep": False, "group": "P1"},
    {"cell_id": "y", "group": "P2"},
]


def test_an_empty_table_is_refused(tmp_path, write_cells):
    with CellSetWriter(tmp_path / "empty"):
        pass
    with pytest.raises(AnnotationError, match="holds no cell with a label that is to be kept"):
        split_table(tmp_path / "empty")
    with pytest.raises(AnnotationError, match="holds no cell with a label"):
        split_table(write_cells(UNUSED))


def test_only_the_column_changes_and_groups_stay_whole(write_cells):
    root = write_cells(CELLS + UNUSED)
    before = read_cells_csv(root)
    result = split_table(root, test_fraction=0.3, val_fraction=0.2, seed=4)
    after = read_cells_csv(root)
    for old, new in zip(before, after, strict=True):
        assert {**vars(new), "split": "all"} == vars(old)
    parts = {}
    for row in after:
        if row.keep and row.label != "unlabelled":
            parts.setdefault(row.group, set()).add(row.split)
    assert all(len(found) == 1 for found in parts.values())
    assert {row.cell_id: row.split for row in after if row.cell_id in "xy"} == {"x": "all", "y": "all"}
    counts = {row["part"]: (row["CTC"], row["WBC"], row["groups"]) for row in result.counts}
    assert counts == {"train": (12, 12, 6), "val": (2, 2, 1), "test": (6, 6, 3)}
    assert result.left_out == {"keep = 0": 1, "unlabelled": 1}
    assert result.leaks.is_clean
    assert read_split_file(root / "split.json").folds == result.split.folds


def test_same_seed_same_bytes(write_cells):
    files = []
    for name in ("a", "b"):
        root = write_cells(CELLS, name)
        split_table(root, seed=1)
        files.append([(root / file).read_bytes() for file in ("cells.csv", "split.json")])
    assert files[0] == files[1]
    split_table(root, seed=2, overwrite=True)
    assert (root / "split.json").read_bytes() != files[0][1]


def test_the_data_set_reads_what_was_divided(write_cells, build_cells):
    root = write_cells(CELLS + UNUSED)
    split_table(root)
    sizes = {
        part: len(build_cells(root, split=part, channels="dapi", test_mode=True)) for part in ("train", "val", "test")
    }
    assert sizes == {part: len(build_cells(root, split_file="split.json", part=part, channels="dapi", test_mode=True))
                     for part in sizes}  # fmt: skip
    assert sum(sizes.values()) == 40


def test_other_groups_and_none(write_cells):
    result = split_table(write_cells(CELLS, "slides"), group_key="slide")
    assert all(len(group) == 2 for group in result.split.group_of.values())
    with pytest.warns(LeakWarning):
        assert split_table(write_cells(CELLS, "cells"), group_key=None).split.group_key is None
    with pytest.raises(ConfigError, match=r"'c00' has no 'patient' to group by. It has: area_px, group, slide, source"):
        split_table(write_cells(CELLS, "patients"), group_key="patient")


def test_a_split_that_is_there_stays(write_cells):
    root = write_cells(CELLS)
    split_table(root)
    with pytest.raises(AnnotationError, match=r"is split already \(test, train, val\); replace that with --overwrite"):
        split_table(root)


def test_a_leak_leaves_the_table_as_it_was(write_cells, noise_image):
    """Every patient holds the same picture of a cell."""
    root = write_cells(CELLS[::2], image=lambda n, _: np.rot90(noise_image(n if n % 4 else 0), n // 4))
    before = (root / "cells.csv").read_bytes()
    with pytest.raises(LeakError, match="pictures on two sides of the split"):
        split_table(root)
    assert (root / "cells.csv").read_bytes() == before
    assert not (root / "split.json").exists()
    with pytest.warns(LeakWarning, match="pictures on two sides"):
        assert not split_table(root, allow_leaks=True).leaks.is_clean
    assert (root / "cells.csv").read_bytes() != before
