"""Exit codes and error lines that every command shares."""

import pytest

from ctc_mm.cli import run_cli
from ctc_mm.errors import ConfigError


def failing(error):
    def main(argv=None):
        raise error

    return main


def test_done_is_0(capsys):
    assert run_cli(lambda argv: None) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("a.py: no `model`; add one"), "error: a.py: no `model`; add one\n"),
        (ValueError(), "error: ValueError\n"),
        (KeyboardInterrupt(), "interrupted\n"),
        (
            PermissionError(13, "Permission denied", "/out/x.json"),
            "error: /out/x.json: Permission denied; check the path, and that it may be read or written\n",
        ),
        (OSError("disk on fire"), "error: disk on fire\n"),
        (
            OSError(28, "cannot be written (No space left on device)", "/out/x.json"),
            "error: /out/x.json: cannot be written (No space left on device); free some space, or write elsewhere\n",
        ),
    ],
    ids=["ours", "wordless", "interrupted", "file", "no_file", "full"],
)
def test_a_failure_is_1_and_one_line(error, line, capsys, monkeypatch):
    monkeypatch.delenv("CTC_MM_TRACEBACK", raising=False)
    assert run_cli(failing(error)) == 1
    assert capsys.readouterr().err == line


def test_ctrl_c_amid_an_import_is_no_failure_of_the_program(capsys):
    error = RuntimeError("Error calling __set_name__")  # as Python 3.11 wraps it
    error.__cause__ = KeyboardInterrupt()
    assert run_cli(failing(error)) == 1
    assert capsys.readouterr().err == "interrupted\n"


def test_traceback_on_request(capsys, monkeypatch):
    monkeypatch.setenv("CTC_MM_TRACEBACK", "1")
    assert run_cli(failing(ConfigError("x"))) == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback")
    assert error.endswith("error: x\n")
