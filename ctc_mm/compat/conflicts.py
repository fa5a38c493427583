"""Distributions that unpack the same folder: refused, or warned of, before one half-overwrites the other in use.

Read from the metadata beside the packages; none of them is imported.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterable

from ctc_mm.compat.cures import reinstall
from ctc_mm.errors import InstallationError

# The maintained forks, and whose import name each has taken over.
ORIGINALS = {
    "onedl-mmengine": ("mmengine", "mmengine-lite"),
    "onedl-mmcv": ("mmcv", "mmcv-full", "mmcv-lite"),
    "onedl-mmdetection": ("mmdet",),
    "onedl-mmpretrain": ("mmpretrain",),
}
# All unpack `cv2`. Two of one version hold the same files; of different versions, a mixture that may crash.
OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Return name -> version of those distributions that are installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def refuse_originals_beside_forks() -> None:
    """Refuse an original OpenMMLab distribution that is installed beside its fork.

    Raises:
        InstallationError: naming both distributions, their versions and the command that cures it.
    """
    clashes, remove, install = [], [], []
    for fork, originals in ORIGINALS.items():
        # Originals first: a sound installation has none, and is asked about nothing more.
        found = installed_versions(originals)
        fork_version = installed_versions([fork]).get(fork) if found else None
        if fork_version is None:
            continue
        clashes += [f"{name} {version} beside {fork} {fork_version}" for name, version in found.items()]
        remove += [*found, fork]
        install.append(f"{fork}=={fork_version}")
    if clashes:
        raise InstallationError(
            f"installed side by side, though both unpack the same import package: {'; '.join(clashes)}. "
            f"Whichever came last has overwritten files of the other. Keep the fork: {reinstall(remove, install)}"
        )


def warn_of_unequal_opencv() -> None:
    """Warn when OpenCV is installed under several names in different versions."""
    versions = installed_versions(OPENCV)
    if len(set(versions.values())) < 2:
        return
    keep = next(iter(versions.values()))
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    requirements = " ".join(f"{name}=={keep}" for name in versions)
    warnings.warn(
        f"several OpenCV distributions share the folder `cv2` and differ in version: {listed}. "
        f"Make them equal: python -m pip install --force-reinstall --no-deps {requirements}",
        stacklevel=2,
    )


def check_distributions() -> None:
    """Run both checks.

    Raises:
        InstallationError: from ``refuse_originals_beside_forks``.
    """
    refuse_originals_beside_forks()
    warn_of_unequal_opencv()
