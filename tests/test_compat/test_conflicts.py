"""Distributions that overwrite each other, as folders of metadata on a fresh Python's path."""

import os
import subprocess
import sys

import pytest

from ctc_mm.compat.conflicts import ORIGINALS, installed_versions


@pytest.fixture
def import_with(repo, tmp_path):
    """Import ctc_mm in a Python that sees only these distributions; return the finished process."""

    def run(*options, **versions):
        for name, version in versions.items():
            folder = tmp_path / f"{name}-{version}.dist-info"
            folder.mkdir()
            metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
            (folder / "METADATA").write_text(metadata)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(repo)])}
        # -S: without site-packages, so that what is installed here does not matter.
        return subprocess.run(
            [sys.executable, "-S", *options, "-c", "import ctc_mm; print(ctc_mm.__version__)"],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
        )

    return run


def test_nothing_installed_is_fine(import_with):
    result = import_with()
    assert (result.returncode, result.stderr) == (0, "")


def test_forks_alone_are_fine(import_with):
    result = import_with(onedl_mmcv="2.3.6", onedl_mmdetection="3.5.1", onedl_mmengine="0.10.12")
    assert (result.returncode, result.stderr) == (0, "")


def test_original_without_its_fork_is_fine(import_with):
    result = import_with(mmcv="2.1.0", onedl_mmdetection="3.5.1")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("fork", "original"), [(fork, original) for fork, originals in ORIGINALS.items() for original in originals]
)
def test_original_beside_its_fork_is_refused(import_with, fork, original):
    result = import_with(**{fork.replace("-", "_"): "9.8.7", original.replace("-", "_"): "2.1.0"})
    assert result.returncode == 1
    last_line = result.stderr.splitlines()[-1]
    assert last_line.startswith("ctc_mm.errors.InstallationError:")
    assert f"{original} 2.1.0 beside {fork} 9.8.7" in last_line
    assert f"pip uninstall -y {original} {fork} && " in last_line
    assert last_line.endswith(f"pip install --no-deps --no-cache-dir {fork}==9.8.7")


def test_several_clashes_are_cured_by_one_command(import_with):
    result = import_with(mmcv="2.1.0", mmcv_full="1.7.2", onedl_mmcv="2.3.6", mmdet="3.3.0", onedl_mmdetection="3.5.1")
    assert (
        "pip uninstall -y mmcv mmcv-full onedl-mmcv mmdet onedl-mmdetection && python -m pip install --no-deps "
        "--no-cache-dir onedl-mmcv==2.3.6 onedl-mmdetection==3.5.1"
    ) in result.stderr


def test_opencv_of_one_version_is_fine(import_with):
    result = import_with(opencv_python="4.13.0.92", opencv_python_headless="4.13.0.92")
    assert (result.returncode, result.stderr) == (0, "")


def test_opencv_of_two_versions_warns(import_with):
    result = import_with(opencv_python="4.13.0.92", opencv_python_headless="4.10.0.84")
    assert result.returncode == 0
    assert "opencv-python 4.13.0.92, opencv-python-headless 4.10.0.84" in result.stderr
    assert (
        "pip install --force-reinstall --no-deps opencv-python==4.13.0.92 opencv-python-headless==4.13.0.92"
    ) in result.stderr


def test_this_installation_is_sound():
    assert installed_versions(name for originals in ORIGINALS.values() for name in originals) == {}
