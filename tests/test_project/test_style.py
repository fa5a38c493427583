"""House rules that a linter does not know, and the contract of every command line."""

import ast
import re
import shutil
import subprocess
import sys

import pytest
from imported_names import REPO, SCRIPT_FOLDERS, command_lines, relative, source_files

SHIPPED_FILES = source_files("ctc_mm", *SCRIPT_FOLDERS)
MOST_LINES = 400
# In pieces, so that this file does not hold what it forbids.
REGISTRY_HOSTS = ("pypi" + ".org", "python" + "hosted.org", "py" + "torch.org/whl", "ana" + "conda.org", "npm" + "js.")
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(?:work|root|home|Users|mnt)/\w")


@pytest.mark.parametrize("file", SHIPPED_FILES, ids=relative)
def test_no_assert_outside_tests(file):
    # `python -O` takes them away, and a user sees no message.
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize("file", [*SHIPPED_FILES, *source_files("tests", "configs")], ids=relative)
def test_file_can_be_read_in_one_go(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def tracked_files():
    """Files under version control, or None outside a checkout."""
    if shutil.which("git") is None or not (REPO / ".git").exists():
        return None
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    return [REPO / name for name in listed.split("\0") if name and (REPO / name).is_file()]


def test_no_registry_host_and_no_path_of_a_machine_in_tracked_files():
    files = tracked_files()
    if files is None:
        pytest.skip("not a git checkout")
    found = []
    for file in files:
        text = file.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{relative(file)}: {host}" for host in REGISTRY_HOSTS if host in text]
        if file.suffix not in (".png", ".jpg"):
            found += [f"{relative(file)}: {match.group()}" for match in MACHINE_PATH.finditer(text)]
    assert found == []


def run_script(file, *arguments):
    return subprocess.run(
        [sys.executable, "-X", "importtime", file, *arguments], cwd=REPO, capture_output=True, text=True
    )


@pytest.mark.parametrize("file", command_lines(), ids=relative)
def test_help_has_an_example_and_is_light(file):
    result = run_script(file, "--help")
    assert result.returncode == 0, result.stderr
    assert re.search(r"[Ee]xample", result.stdout)
    assert re.search(rf"python {re.escape(relative(file))} \S", result.stdout)
    assert re.findall(r"\| +(torch|mmengine|mmcv|mmdet|mmpretrain)$", result.stderr, re.MULTILINE) == []


@pytest.mark.parametrize("file", command_lines(), ids=relative)
def test_bad_usage_ends_with_2(file):
    result = run_script(file, "--no-such-option")
    assert result.returncode == 2
    assert "usage:" in result.stderr
    assert "Traceback" not in result.stderr
