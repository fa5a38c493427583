import errno
import os

import pytest

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.paths import files_under, resolve_inside


@pytest.fixture
def tree(tmp_path):
    """A root with labels and images, and a secret file beside it."""
    for folder in ("root/labels", "root/images"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "root/images/x.png").write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"s")
    return tmp_path


@pytest.mark.parametrize("written", ["../images/x.png", "..\\images\\x.png", "./../images/../images/x.png"])
def test_paths_that_climb_inside_the_root_are_found(tree, written):
    path, relative = resolve_inside(tree / "root", tree / "root/labels", written)
    assert path == (tree / "root/images/x.png").resolve()
    assert relative == "images/x.png"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("../../secret.png", "leads out"),
        ("..\\..\\secret.png", "leads out"),
        ("..", "leads out"),
        ("/etc/passwd", "absolute"),
        ("\\\\server\\share\\x.png", "absolute"),
        ("C:\\data\\x.png", "absolute"),
        ("C:x.png", "absolute"),
        ("", "names no file"),
        ("a\0b.png", "names no file"),
        ("a" * 300 + ".png", "longer than 255"),
    ],
)
def test_paths_that_leave_the_root_are_refused(tree, written, message):
    with pytest.raises(AnnotationError, match=message):
        resolve_inside(tree / "root", tree / "root/labels", written)


def test_a_link_that_leads_out_is_refused(tree):
    (tree / "root/labels/link.png").symlink_to(tree / "secret.png")
    with pytest.raises(AnnotationError, match="leads out"):
        resolve_inside(tree / "root", tree / "root/labels", "link.png")


def test_a_link_in_a_circle_is_no_file(tree):
    link = tree / "root/labels/loop.png"
    link.symlink_to(link)
    with pytest.raises(AnnotationError, match="cannot be followed"):
        resolve_inside(tree / "root", tree / "root/labels", "loop.png")


def test_a_root_that_is_a_link_holds_its_files(tree):
    (tree / "alias").symlink_to(tree / "root")
    assert resolve_inside(tree / "alias", tree / "alias/labels", "../images/x.png")[1] == "images/x.png"


def test_files_are_sorted_and_hidden_ones_left_out(tmp_path):
    assert files_under(tmp_path, (".json",)) == []
    for name in ("b.json", "a/c.JSON", "a.json", ".hidden.json", ".cache/d.json", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = [path.relative_to(tmp_path).as_posix() for path in files_under(tmp_path, (".json",))]
    assert found == ["a.json", "a/c.JSON", "b.json"]


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match="is not a folder"):
        files_under(tmp_path / "none", (".json",))


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    (tmp_path / "elsewhere/deep/b.json").write_text("{}")
    (tmp_path / "root/own").mkdir(parents=True)
    (tmp_path / "root/own/a.json").write_text("{}")
    (tmp_path / "root/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/own/circle").symlink_to(tmp_path / "root")
    (tmp_path / "root/lost.json").symlink_to(tmp_path / "nothing.json")
    (tmp_path / "root/folder.json").mkdir()
    os.mkfifo(tmp_path / "root/pipe.json")
    found = [path.relative_to(tmp_path / "root").as_posix() for path in files_under(tmp_path / "root", (".json",))]
    assert found == ["linked/deep/b.json", "lost.json", "own/a.json"]


def test_a_folder_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):  # whoever runs tests as root may read everything
        if os.fspath(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(AnnotationError, match=r"closed: folder cannot be read \(Permission denied\)"):
        files_under(tmp_path, (".json",))
