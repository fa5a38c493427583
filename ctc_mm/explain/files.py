"""Grad-CAM results on disk: an overlay, a strip of levels and the raw maps of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.explain.detection_cam import DetectionCAM
from ctc_mm.explain.draw import draw_levels, draw_overlay
from ctc_mm.formats.files import atomic_path
from ctc_mm.formats.paths import IMAGE_SUFFIXES, files_under
from ctc_mm.imaging.io import read_image, write_png


@dataclass(frozen=True)
class ExplanationFiles:
    """Where the explanation of one image was written, and how many boxes it has."""

    image: Path
    overlay: Path
    levels: Path
    maps: Path
    kept: int
    explained: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the written files by name alone, beside which it will lie."""
        names = {key: getattr(self, key).name for key in ("overlay", "levels", "maps")}
        return {"image": str(self.image), **names, "boxes_kept": self.kept, "boxes_explained": self.explained}


def save_explanation(
    result: DetectionCAM,
    image_path: str | Path,
    out_dir: str | Path,
    stem: str,
    class_names: Sequence[str],
    truth_xyxy: np.ndarray | None = None,
) -> ExplanationFiles:
    """Write ``<stem>.png`` (overlay), ``<stem>_levels.png`` (strip) and ``<stem>.npz`` (maps and boxes).

    The NPZ holds every field of :class:`ctc_mm.explain.detection_cam.DetectionCAM` under its name. The same result
    gives the same bytes.

    Raises:
        ImageReadError: the image cannot be read, or has another size than the maps.
    """
    image = read_image(image_path)
    if image.shape[:2] != result.fused.shape:
        raise ImageReadError(
            f"{image_path}: {image.shape[1]}x{image.shape[0]} px, but the test pipeline read it as "
            f"{result.fused.shape[1]}x{result.fused.shape[0]}: its loading transform must apply the EXIF orientation"
        )
    out_dir = Path(out_dir)
    files = ExplanationFiles(
        image=Path(image_path),
        overlay=out_dir / f"{stem}.png",
        levels=out_dir / f"{stem}_levels.png",
        maps=out_dir / f"{stem}.npz",
        kept=len(result.scores),
        explained=int(result.explained.sum()),
    )
    write_png(files.overlay, draw_overlay(image, result, class_names, truth_xyxy))
    write_png(files.levels, draw_levels(image, result))
    with atomic_path(files.maps) as temporary:
        np.savez_compressed(temporary, **vars(result))
    return files


def list_images(paths: Sequence[str | Path]) -> list[Path]:
    """Image files, and those in folders and their subfolders, each once, in the order given (folders by path).

    Raises:
        ImageReadError: a path does not exist, or a folder holds no image.
    """
    images: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = files_under(path, IMAGE_SUFFIXES)
            if not inside:
                raise ImageReadError(f"{path}: no image in this folder; known suffixes: {', '.join(IMAGE_SUFFIXES)}")
            images.update(dict.fromkeys(inside))
        elif path.is_file():
            images[path] = None
        else:
            raise ImageReadError(f"{path}: no such file or folder; give image files or folders of images")
    return list(images)


def output_stems(images: Sequence[Path]) -> list[str]:
    """A file name without suffix for each image: its own, numbered (``x``, ``x-2``) where several share it.

    No result overwrites another one, nor the strip (``x_levels``) of another one.
    """
    taken: set[str] = set()
    stems = []
    for image in images:
        stem, number = image.stem, 1
        # Folded, since some file systems do not tell cases apart.
        while {stem.casefold(), f"{stem}_levels".casefold()} & taken:
            number += 1
            stem = f"{image.stem}-{number}"
        taken |= {stem.casefold(), f"{stem}_levels".casefold()}
        stems.append(stem)
    return stems
