"""What ``make`` does and when it installs, with a stand-in for Python that only writes down how it was called."""

import os
import shutil
import stat
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

FAKE_PYTHON = """#!/bin/sh
# A Python of version $FAKE_VERSION: "-c" asks whether it fits, "-m venv DIR" puts a copy of it there.
case "$1 $2" in
    "-c "*) [ "$FAKE_VERSION" = 3.11 ]; exit ;;
    "--version "*) echo "Python $FAKE_VERSION"; exit ;;
    "-m pip") [ "$3" = --version ] && exit 0 ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
esac
echo "$@" >> "$FAKE_LOG"
[ "$FAKE_FAILS" != "$2" ]
"""


class Project:
    """A copy of what make looks at, and the calls that it made."""

    def __init__(self, folder, repo):
        self.folder = folder / "project"
        self.log = folder / "calls"
        self.python = folder / "fake-python"
        self.python.write_text(FAKE_PYTHON)
        self.python.chmod(0o755)
        (self.folder / "ctc_mm").mkdir(parents=True)
        for name in ("Makefile", "setup.py", "pyproject.toml", "ctc_mm/__init__.py"):
            shutil.copy(repo / name, self.folder / name)

    def make(self, *arguments, version="3.11", fails="nothing"):
        """Run make; return its process and the calls to Python that it made."""
        self.log.write_text("")
        environment = {**os.environ, "FAKE_LOG": str(self.log), "FAKE_VERSION": version, "FAKE_FAILS": fails}
        for name in ("MAKEFLAGS", "MAKELEVEL", "VENV", "PYTHON", "PIP_ARGS", "PYTEST_ARGS", "TEST_THREADS"):
            environment.pop(name, None)
        result = subprocess.run(
            ["make", f"PYTHON={self.python}", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        return result, self.log.read_text().splitlines()

    def make_newer(self, name):
        """Give a file a time after the stamp's."""
        later = (self.folder / ".venv" / ".installed").stat().st_mtime + 10
        os.utime(self.folder / name, (later, later))


@pytest.fixture
def project(tmp_path, repo):
    return Project(tmp_path, repo)


INSTALL = ["-m venv .venv", "-m pip install -e .[dev]"]
PYTEST = "-m pytest -n 2 --dist worksteal"


def test_first_run_installs_and_the_second_does_not(project):
    result, calls = project.make("test")
    assert result.returncode == 0, result.stderr
    assert calls == [*INSTALL, PYTEST]
    assert project.make("test")[1] == [PYTEST]
    assert project.make("demo")[1] == ["tools/demo.py --out demo_out"]
    assert project.make("lint")[1] == ["-m ruff check .", "-m ruff format --check ."]
    assert project.make("install")[1] == []


@pytest.mark.parametrize(("name", "calls"), [("setup.py", 1), ("pyproject.toml", 1), ("ctc_mm/__init__.py", 0)])
def test_changed_dependencies_install_again(project, name, calls):
    project.make("install")
    project.make_newer(name)
    assert project.make("install")[1] == INSTALL[1:] * calls


def test_failed_installation_is_taken_up_again(project):
    result, _ = project.make("test", fails="pip")
    assert result.returncode == 2
    assert project.make("test")[1] == [INSTALL[1], PYTEST]


def test_environment_without_pip_is_made_again(project):
    (project.folder / ".venv" / "bin").mkdir(parents=True)  # python -m venv, interrupted
    assert project.make("install")[1] == INSTALL


def test_moved_project_installs_again(project):
    project.make("install")
    project.folder = project.folder.rename(project.folder.with_name("elsewhere"))
    assert project.make("install")[1] == INSTALL[1:]
    assert project.make("install")[1] == []


def test_no_fitting_python_is_an_error_before_anything_is_made(project):
    result, calls = project.make("test", version="3.13")
    assert result.returncode == 2
    assert "error: no Python 3.11 or 3.12 among:" in result.stderr
    assert "PYTHON=" in result.stderr
    assert calls == []
    assert not (project.folder / ".venv").exists()


def test_environment_of_another_python_is_an_error(project):
    project.make("install")
    (project.folder / ".venv" / ".installed").unlink()
    result, calls = project.make("test", version="3.10")
    assert result.returncode == 2
    assert "error: .venv holds Python 3.10" in result.stderr
    assert calls == []


def test_variables_are_passed_on(project):
    arguments = ("VENV=other", "PIP_ARGS=--no-cache-dir", "PYTEST_ARGS=-x tests/test_compat", "test")
    assert project.make(*arguments)[1] == [
        "-m venv other",
        "-m pip install --no-cache-dir -e .[dev]",
        f"{PYTEST} -x tests/test_compat",
    ]
    assert project.make("VENV=other", "DEMO_OUT=there", "demo")[1] == ["tools/demo.py --out there"]


def test_help_lists_the_commands(project):
    result, calls = project.make()
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["help", "install", "demo", "test", "lint"]
    assert calls == []


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_ci_lints_and_tests_and_stops_at_a_failure(tmp_path, repo):
    script = repo / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    for name in ("make", "chromedriver"):  # with a browser there, nothing is installed
        fake = tmp_path / name
        fake.write_text('#!/bin/sh\necho "$PWD $@"\n[ "$1" != "$FAKE_FAILS" ]\n')
        fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "FAKE_FAILS": "nothing"}

    def run():
        return subprocess.run([script], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert run().stdout.splitlines() == [f"{repo} lint", f"{repo} test"]
    environment["FAKE_FAILS"] = "lint"
    result = run()
    assert (result.returncode, result.stdout.splitlines()) == (1, [f"{repo} lint"])
