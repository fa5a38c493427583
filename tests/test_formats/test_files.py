"""Files are written whole or not at all, and what cannot be written is named."""

import json

import pytest

from ctc_mm.formats import files
from ctc_mm.formats.files import atomic_path, atomic_write_text, remove_unfinished, require_writable, write_json


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "deep" / "a.txt"
    atomic_write_text(path, "\u00b5m\n")
    assert path.read_bytes() == "\u00b5m\n".encode()
    assert [item.name for item in path.parent.iterdir()] == ["a.txt"]


def test_a_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": [2]})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"b": float("nan")})

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_half()
    assert path.read_bytes() == before
    assert json.loads(before) == {"b": 1, "a": [2]}
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(IsADirectoryError, match=r"is a folder, where a file is to be written: '.*folder'"):
        atomic_write_text(tmp_path / "folder", "x")
    with pytest.raises(OSError, match=r"cannot be written .*: '.*file/a\.txt'"):
        atomic_write_text(tmp_path / "file" / "a.txt", "x")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "folder"]


def test_what_cannot_be_written_is_found_out_before(tmp_path):
    (tmp_path / "file").write_text("x")
    require_writable(None, tmp_path / "file", tmp_path / "new" / "a.txt")
    assert sorted(item.name for item in tmp_path.rglob("*")) == ["file", "new"]
    assert (tmp_path / "file").read_text() == "x"
    with pytest.raises(OSError, match=r"cannot be written .*: '.*file/a\.txt'"):
        require_writable(tmp_path / "b.txt", tmp_path / "file" / "a.txt")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "new"]


def test_ctrl_c_while_the_file_is_made_leaves_nothing(tmp_path, monkeypatch):
    make = files.os.open

    def interrupted(*arguments):
        files.os.close(make(*arguments))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            atomic_write_text(tmp_path / "a.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    remove_unfinished(tmp_path / "missing", ["a.json"])
    with atomic_path(tmp_path / "unit-7.json") as temporary:
        left = temporary.with_name(temporary.name.replace("unit-7", "unit-8"))
        left.write_text("{")
    others = [".a.json", ".a.backup.json", ".a.00000000.txt", "a.00000000.json", ".b.00000000.json"]
    for name in (*others, ".a.0123abcd.json"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path, ["a.json", "unit-*.json"])
    assert {path.name for path in tmp_path.iterdir()} == {*others, "unit-7.json"}
