"""Explain image files with a trained model: what ``tools/explain.py`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ctc_mm.errors import ConfigError
from ctc_mm.explain.classifier_run import explain_cells
from ctc_mm.explain.detection_cam import explain_detection
from ctc_mm.explain.files import ExplanationFiles, list_images, output_stems, save_explanation
from ctc_mm.explain.trained import TrainedModel, class_thresholds
from ctc_mm.formats.files import write_json

# What only boxes have, and what only classes of whole images have; None stands for "not given".
OF_DETECTORS = ("target", "levels", "against_background")
OF_CLASSIFIERS = ("against_others", "split")


def explain(
    trained: TrainedModel,
    image_paths: Sequence[str | Path],
    out_dir: str | Path,
    *,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    **options: Any,
) -> str:
    """Explain images with a detector (:func:`explain_files`) or a classifier (``classifier_run.explain_cells``).

    Args:
        trained: see :func:`ctc_mm.explain.trained.build_trained_model`.
        image_paths: files and folders; for a classifier also tables ``cells.csv``.
        out_dir: made if it is not there.
        track: wraps the loop, for a progress bar.
        **options: those of either function; None where not given.

    Returns:
        One line that says what was written.

    Raises:
        ConfigError, ValueError: an option that this kind of model has no use for, or see the two functions.
    """
    kind, foreign = ("detector", OF_CLASSIFIERS) if trained.is_detector else ("classifier", OF_DETECTORS)
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    for name in foreign:
        if name in given:
            raise ConfigError(f"--{name.replace('_', '-')} has no meaning here: the config builds a {kind}")
    function = explain_files if trained.is_detector else explain_cells
    written = function(trained, image_paths, out_dir, track=track, **given)
    if not trained.is_detector:
        return written.summary()
    empty = sum(not files.explained for files in written)
    return f"{len(written)} images explained, {empty} of them without a box to explain (empty maps): {out_dir}"


def explain_files(
    detector: TrainedModel,
    image_paths: Sequence[str | Path],
    out_dir: str | Path,
    *,
    score_thr: float | None = None,
    class_name: str | None = None,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    **options: Any,
) -> list[ExplanationFiles]:
    """Explain image files and folders of them; pictures, maps and a list, ``explain.json``, go to ``out_dir``.

    Args:
        detector: see :func:`ctc_mm.explain.trained.build_trained_model`.
        image_paths: files and folders.
        out_dir: made if it is not there.
        score_thr: boxes with a lower score are not kept; by default the thresholds frozen with the weights, or 0.5.
        class_name: explain boxes of this class only.
        track: wraps the loop, for a progress bar.
        **options: ``target``, ``levels``, ``layers``, ``against_background`` of
            :func:`ctc_mm.explain.detection_cam.explain_detection`.

    Returns:
        One entry an image, in the order of the images.

    Raises:
        ImageReadError: an image cannot be read.
        ConfigError, ValueError: see :func:`ctc_mm.explain.detection_cam.explain_detection`.
    """
    if isinstance(score_thr, str):
        raise ConfigError(f"the threshold of a detector is a number; {score_thr!r} is a classifier's rule")
    images = list_images(image_paths)
    by_class = class_thresholds(detector.class_names, detector.operating_point)
    thresholds = by_class if score_thr is None else score_thr
    label = None if class_name is None else detector.label_of(class_name)
    written = []
    for path, stem in track(list(zip(images, output_stems(images), strict=True))):
        data = detector.pipeline(dict(detector.image_info, img_path=str(path), img_id=0))
        result = explain_detection(detector.model, data, score_thr=thresholds, label=label, **options)
        written.append(save_explanation(result, path, out_dir, stem, detector.class_names))
    summary = {
        "classes": list(detector.class_names),
        "score_thr": list(thresholds) if score_thr is None else score_thr,
        "class": class_name,
        "options": options,
        "images": [files.to_dict() for files in written],
    }
    write_json(Path(out_dir) / "explain.json", summary)
    return written
