"""Explain image files with a config and its checkpoint: what ``tools/explain.py`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcv.transforms import Compose
from mmdet.registry import MODELS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

import ctc_mm.datasets.transforms
import ctc_mm.models  # noqa: F401  # both for what they register
from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.operating_point import frozen_operating_point
from ctc_mm.explain.detection_cam import DEFAULT_SCORE_THR, explain_detection
from ctc_mm.explain.files import ExplanationFiles, list_images, output_stems, save_explanation
from ctc_mm.formats.files import write_json
from ctc_mm.models.loading import load_all_weights


@dataclass(frozen=True)
class Detector:
    """A trained detector with what it takes to feed it and to name its classes.

    ``image_info`` is what the model remembers of its images and the loading transform needs (``white_level``).
    """

    model: nn.Module
    pipeline: Callable[[dict], dict]
    class_names: tuple[str, ...]
    operating_point: Mapping[str, Any] | None
    image_info: Mapping[str, Any]

    def label_of(self, class_name: str) -> int:
        """The label of a class.

        Raises:
            ConfigError: the model knows no such class.
        """
        if class_name not in self.class_names:
            raise ConfigError(f"no class {class_name!r}; the model knows {', '.join(self.class_names)}")
        return self.class_names.index(class_name)

    def score_thr(self) -> tuple[float, ...]:
        """By class: the threshold frozen with the checkpoint, or 0.5 where there is none."""
        return class_thresholds(self.class_names, self.operating_point)


def class_thresholds(class_names: Sequence[str], operating_point: Mapping[str, Any] | None) -> tuple[float, ...]:
    """Score threshold of each class from an operating point; 0.5 (reading 9) for classes without one."""
    thresholds = (operating_point or {}).get("thresholds", {})
    found = (thresholds.get(name) for name in class_names)
    return tuple(DEFAULT_SCORE_THR if threshold is None else float(threshold) for threshold in found)


def build_detector(cfg: Config, checkpoint: Mapping[str, Any], source: str | Path, device: str = "cpu") -> Detector:
    """Build the model of a config, fill it from a checkpoint, and prepare the config's test pipeline.

    Args:
        cfg: the training config.
        checkpoint: a loaded checkpoint of MMEngine.
        source: the checkpoint's path, for messages.
        device: where the model goes.

    Raises:
        CheckpointError: the weights do not fit the config's model.
        ConfigError: the config has no test pipeline, or the device is not there.
    """
    init_default_scope(cfg.get("default_scope", "mmdet"))
    model = MODELS.build(cfg.model)
    load_all_weights(model, checkpoint, source)
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch raises either, by the build
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {device!r} cannot be used here ({reason}); give cpu, or cuda on a GPU") from error
    dataset_meta = (checkpoint.get("meta") or {}).get("dataset_meta") or {}
    return Detector(
        model=model.eval(),
        pipeline=build_pipeline(cfg),
        class_names=tuple(dataset_meta.get("classes") or _classes_of(cfg, model)),
        operating_point=frozen_operating_point(checkpoint),
        image_info={key: dataset_meta[key] for key in ("white_level",) if key in dataset_meta},
    )


def build_pipeline(cfg: Config) -> Compose:
    """The config's test pipeline without the loading of annotations, which an image from outside has not.

    Raises:
        ConfigError: there is none.
    """
    if cfg.get("test_dataloader") is None:
        raise ConfigError(f"{cfg.filename or 'the config'}: no `test_dataloader`, so how to read an image is unknown")
    loads_truth = ("LoadAnnotations", "LabelCEP8")
    steps = [step for step in get_test_pipeline_cfg(cfg) if not str(step["type"]).endswith(loads_truth)]
    return Compose(steps)


def explain_files(
    detector: Detector,
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
        detector: see :func:`build_detector`.
        image_paths: files and folders.
        out_dir: made if it is not there.
        score_thr: boxes with a lower score are not kept; by default the detector's own thresholds.
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
    images = list_images(image_paths)
    thresholds = detector.score_thr() if score_thr is None else score_thr
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


def _classes_of(cfg: Config, model: nn.Module) -> Sequence[str]:
    """Class names of the config's test set; numbers where it names none."""
    dataset = cfg.test_dataloader.dataset if cfg.get("test_dataloader") else {}
    classes = (dataset.get("metainfo") or {}).get("classes")
    return classes or [f"class {label}" for label in range(model.bbox_head.num_classes)]
