"""How often the leak check takes different cells for one, and how many copies it finds.

Every pair of the set is compared; what is flagged is listed, to be looked at. Then a sample of its cells is copied:
turned, mirrored, brighter, of another gamma, compressed, made smaller, noisy.

example: python benchmarks/leaks.py data/cells --copies 150
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from common import markdown_table

from ctc_mm.cli import run_cli
from ctc_mm.formats.cell_set import read_cell_image, read_cells_csv
from ctc_mm.imaging.normalize import guess_white_level, scale_to_255


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)


def _noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 5, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "turned by 90 degrees": lambda image: np.ascontiguousarray(np.rot90(image)),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "16 bit": lambda image: image.astype(np.uint16) * 257,
    "brighter by a fifth": lambda image: np.clip(image * 1.2, 0, 255).astype(np.uint8),
    "gamma 0.8": lambda image: np.rint(255 * (image / 255) ** 0.8).astype(np.uint8),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "JPEG at quality 90": lambda image: _jpeg(image, 90),
    "JPEG at quality 75": lambda image: _jpeg(image, 75),
    "noise of 5 grey values": _noisy,
}


def compare_all(root: Path) -> dict[str, object]:
    """Flag pairs among all cells of a set."""
    from ctc_mm.datasets.leaks import find_duplicates  # brings torch

    paths = {}
    for row in read_cells_csv(root):
        if row.keep:
            paths.setdefault(row.cell_id, []).append(root / row.path)
    duplicates, unchecked = find_duplicates(paths)
    for one in duplicates:
        print(f"{root.name}: {' and '.join(one.units)} (likeness {one.likeness:.2f})")
    pairs = len(paths) * (len(paths) - 1) // 2
    return {
        "set": root.name, "cells": len(paths), "pairs": pairs, "flagged": len(duplicates), "unchecked": len(unchecked),
    }  # fmt: skip


def find_copies(root: Path, count: int, seed: int) -> dict[str, object]:
    """Share of copies found, in % of ``count`` cells, by kind of copy."""
    from ctc_mm.datasets.leaks import find_duplicates

    rows = [row for row in read_cells_csv(root) if row.keep]
    chosen = np.random.default_rng(seed).choice(len(rows), min(count, len(rows)), replace=False)
    found: dict[str, object] = {"set": root.name}
    for name, copy in COPIES.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = {}
            for index in sorted(chosen):
                image = _grey_8bit(root / rows[index].path)
                for kind, version in (("original", image), ("copy", copy(image))):
                    path = Path(folder) / f"{index}_{kind}.png"
                    cv2.imwrite(str(path), version)
                    paths[path.stem] = [path]
            pairs = {frozenset(one.units) for one in find_duplicates(paths)[0]}
        hits = sum(frozenset((f"{index}_original", f"{index}_copy")) in pairs for index in chosen)
        found[name] = f"{100 * hits / len(chosen):.0f}"
    return found


def _grey_8bit(path: Path) -> np.ndarray:
    image = read_cell_image(path)
    image = image.max(axis=2) if image.ndim == 3 else image
    return np.rint(scale_to_255(image, guess_white_level(image))).astype(np.uint8)


def main(argv: list[str] | None = None) -> None:
    """Compare, copy, print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path, metavar="CELLS", help="folders of cells.csv")
    parser.add_argument("--copies", type=int, default=150, metavar="N", help="cells to copy (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the cells that are copied (default: %(default)s)")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    for rows in (
        [compare_all(root) for root in args.sets],
        [find_copies(root, args.copies, args.seed) for root in args.sets],
    ):
        print(markdown_table(list(rows[0]), [list(row.values()) for row in rows]))


if __name__ == "__main__":
    sys.exit(run_cli(main))
