"""benchmarks/leaks.py on a set with one planted copy."""

import importlib
import sys

import numpy as np
import pytest

from ctc_mm.formats.cell_set import CellRow, CellSetWriter


@pytest.fixture
def benchmark(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module("leaks")
    for name in {"common", "leaks"} - before:
        sys.modules.pop(name, None)


def test_planted_copy_is_flagged_and_copies_are_found(benchmark, tmp_path, capsys):
    random = np.random.default_rng(0)
    images = [random.integers(0, 200, (48, 48)).astype(np.uint8) for _ in range(4)]
    with CellSetWriter(tmp_path / "cells") as writer:
        for number, image in enumerate([*images, images[0][::-1]]):
            row = CellRow(
                cell_id=f"c{number}", channel="brightfield", label="CTC", group="P1", source="a.png",
                box_xyxy=(0, 0, 48, 48),
            )  # fmt: skip
            writer.add(row, np.ascontiguousarray(image))
    benchmark.main([str(tmp_path / "cells"), "--copies", "3"])
    text = capsys.readouterr().out
    assert "cells: c0 and c4 (likeness 1.00)" in text
    assert "| cells | 5 | 10 | 1 | 0 |" in text
    last = text.splitlines()[-1].strip("| ").split(" | ")
    assert dict(zip(benchmark.COPIES, last[1:], strict=True))["mirrored"] == "100"
