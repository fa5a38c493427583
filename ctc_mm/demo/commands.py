"""Running the project's command lines from the demo, shown as a user would type them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *arguments: object) -> None:
    """Run one of the project's command lines in its folder.

    Raises:
        RuntimeError: it failed; its own message stands above.
    """
    words = [script, *map(str, arguments)]
    Console(stderr=True).rule(f"python {shlex.join(words)}", align="left", style="cyan")
    code = subprocess.run([sys.executable, *words], cwd=ROOT, check=False).returncode
    if code:
        raise RuntimeError(f"`python {shlex.join(words)}` ended with code {code}; its message stands above.")


def was_done_with(mark: Path, state: Mapping[str, Any]) -> bool:
    """Whether ``mark``, written at the end of an earlier run, holds the same settings."""
    return mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == dict(state)


def print_paths(paths: Mapping[str, Path]) -> None:
    """One line each, unbroken, to be copied."""
    console = Console(soft_wrap=True)
    for what, path in paths.items():
        console.print(f"{what:24s} {path}")
