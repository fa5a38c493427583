"""A tool called in this process: exit code and what it prints, without the seconds of a new interpreter."""

import importlib.util
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test_engine"))
from process_state import process_state_kept

from ctc_mm.cli import run_cli


def call(repo, name, *words, folder="tools"):
    """What ``python FOLDER/NAME.py WORDS...`` gives: ``returncode``, ``stdout``, ``stderr``."""
    spec = importlib.util.spec_from_file_location(f"called_{name}", repo / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), process_state_kept():
        try:
            code = run_cli(module.main, [str(word) for word in words])
        except SystemExit as stopped:  # argparse
            code = stopped.code
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())
