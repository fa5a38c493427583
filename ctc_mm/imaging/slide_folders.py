"""Folders that are one image: zarr stores and mosaics of fields."""

from __future__ import annotations

from pathlib import Path

POSITIONS_FILE = "positions.csv"
ZARR_SUFFIX = ".zarr"
# Of zarr format 3, and of arrays and groups of format 2.
ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup")


def is_zarr_folder(path: Path) -> bool:
    """Whether a folder is a zarr store, by its name or by the metadata in it."""
    return path.is_dir() and (
        path.suffix.lower() == ZARR_SUFFIX or any((path / name).is_file() for name in ZARR_METADATA)
    )


def is_mosaic_folder(path: Path) -> bool:
    """Whether a folder holds fields that are placed by a ``positions.csv``."""
    return (path / POSITIONS_FILE).is_file()


def is_slide_folder(path: Path) -> bool:
    """Whether a folder is one image."""
    return is_zarr_folder(path) or is_mosaic_folder(path)
