import importlib.util

import numpy as np
import pytest

from ctc_mm.cli import run_cli
from ctc_mm.formats.cell_set import CellRow, CellSetWriter, read_cells_csv


@pytest.fixture
def split_cells(repo):
    """The command's main."""
    spec = importlib.util.spec_from_file_location("split_cells", repo / "tools" / "split_cells.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *arguments: run_cli(module.main, list(map(str, arguments)))


@pytest.fixture
def cells(tmp_path):
    with CellSetWriter(tmp_path / "cells") as writer:
        for n in range(24):
            row = CellRow(cell_id=f"c{n:02d}", channel="brightfield", label="CTC" if n % 3 else "WBC",
                          group=f"P{n // 3}", source="a", box_xyxy=(0, 0, 16, 16))  # fmt: skip
            writer.add(row, np.random.default_rng(n).integers(0, 255, (16, 16), np.uint8))
    return tmp_path / "cells"


def test_cells_are_divided_and_counted(split_cells, cells, capsys):
    assert split_cells(cells, "--test", "0.25", "--val", "0.34", "--seed", "3") == 0
    out = capsys.readouterr().out
    assert "train: CTC 8, WBC 4 (4 groups)\nval: CTC 4, WBC 2 (2 groups)\ntest: CTC 4, WBC 2 (2 groups)\n" in out
    assert "leak check: no leak found" in out
    assert {row.split for row in read_cells_csv(cells)} == {"train", "val", "test"}
    assert split_cells(cells) == 1
    assert "is split already (test, train, val); replace that with --overwrite" in capsys.readouterr().err
    assert split_cells(cells, "--overwrite") == 0


def test_mistakes_end_with_one_line(split_cells, cells, tmp_path, capsys):
    assert split_cells(tmp_path / "none") == 1
    assert "cells.csv" in capsys.readouterr().err
    assert split_cells(cells, "--group-key", "slide") == 1
    assert "has no 'slide' to group by" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        split_cells(cells, "--test", "half")
    assert ended.value.code == 2
