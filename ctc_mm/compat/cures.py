"""Commands that messages about the installation tell the user to run."""

from collections.abc import Sequence

BUILD_OPS = (
    "python -m pip install setuptools packaging ninja && MMCV_WITH_OPS=1 python -m pip install --force-reinstall "
    "--no-deps --no-cache-dir --no-build-isolation --no-binary onedl-mmcv onedl-mmcv"
)

HOW_TO_BUILD_OPS = f"To build mmcv's compiled ops against the installed torch (needs a C++ compiler): {BUILD_OPS}"


def reinstall(remove: Sequence[str], install: Sequence[str]) -> str:
    """Return one shell line that removes distributions and installs requirements afresh, past pip's cache."""
    return (
        f"python -m pip uninstall -y {' '.join(remove)} && "
        f"python -m pip install --no-deps --no-cache-dir {' '.join(install)}"
    )
