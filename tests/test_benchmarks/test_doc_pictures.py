"""The script that makes the guides' pictures: pictures small enough for a repository, the same bytes again."""

import importlib
import sys

import pytest


@pytest.fixture
def script(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    yield importlib.import_module("doc_pictures")
    sys.modules.pop("doc_pictures", None)


def test_small_pictures_with_the_same_bytes_again(script, tmp_path, capsys):
    for folder in ("one", "two"):
        script.main(["--out", str(tmp_path / folder)])
    names = ["augmentation.png", "crops.png", *(f"inspect_{what}.png" for what in ("cells", "imfish", "nuclei"))]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == names
    for name in names:
        data = (tmp_path / "one" / name).read_bytes()
        assert data == (tmp_path / "two" / name).read_bytes()
        assert len(data) < 300_000
    printed = capsys.readouterr().out
    assert "  ctc: " in printed
    assert "nuclei: 0" not in printed
    assert "cells: 0" not in printed
