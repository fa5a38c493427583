"""Ground truth of an imFISH field by the rule, in place of labels made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.bbox import HorizontalBoxes
from torch.utils.data import get_worker_info

from ctc_mm.datasets.transforms.pipeline_field import field_source, open_array, read_channel_map, window_of
from ctc_mm.errors import ConfigError
from ctc_mm.imaging.channels import ChannelMap
from ctc_mm.imaging.crops import boxes_in_window
from ctc_mm.imaging.field import RegionXYXY
from ctc_mm.imfish.records import FieldResult, NucleusRecord
from ctc_mm.imfish.result_cache import ResultCache
from ctc_mm.imfish.settings import ImFISHSettings
from ctc_mm.registry import TRANSFORMS

CTC_LABEL, OTHER_LABEL = 0, 1
OTHERS = ("label", "background", "ignore")


@TRANSFORMS.register_module()
class LabelCEP8(BaseTransform):
    """Label the nuclei of a three-channel field by the imFISH rule, so that a detector trains on unlabelled slides.

    Paper imfish-cnn-2022, "Detection Standard of CTCs": DAPI+, CD45-, CEP8 >= 3 (reading 15). The whole field is
    judged, once, also where the pipeline sees a window of it: thresholds belong to the field. Nuclei about which the
    rule says nothing (``aggregate``, ``overlap``, ``debris``, ``border``, ``out_of_focus``), and those that the window
    cuts, are ignored: neither truth nor background.

    It stands where ``LoadAnnotations`` would: after ``ctc_mm.LoadField``, in training before anything that moves the
    image, in validation and test after ``Resize``, since metrics are taken in pixels of the window as it was read.

    Required Keys:

    - img_path (str): one file with all channels; or channel_paths (dict: channel -> path); or img (np.ndarray,
      (H, W, C) or (C, H, W), raw grey values), which is the whole field
    - channel_map (dict) (optional): channel -> place or name in the file; the data set passes it
    - um_per_px (float) (optional): side of a pixel of the field; otherwise from the files, or from the nuclei
    - region_xyxy (tuple of int) (optional): the window, half-open pixels of the field; boxes are in its pixels
    - core_xyxy (tuple of int) (optional): nuclei whose middle lies outside, in pixels of the field, are ignored: in
      test, another window counts them

    Added Keys:

    - gt_bboxes (HorizontalBoxes[torch.float32])
    - gt_bboxes_labels (np.int64): 0 CTC, 1 the others
    - gt_ignore_flags (bool). What is ignored stands there once a class, as an ignore region holds for one class
    - imfish_records (list of dict): each nucleus that the window shows, once, in the order of the field
      (``NucleusRecord``), in pixels of the field
    - imfish_record_index (np.int64): for each box, which of ``imfish_records`` it belongs to; transforms that come
      later and leave boxes out do not know of it
    - imfish_thresholds (dict): every number of the field that the verdicts rest on
    - cells_before_transforms (int): boxes that are not ignored

    Args:
        channels: place or name of each channel in a file; None: that of ``results``, else dapi 0, cep8 1, cd45 2.
        mode: ``full``, or ``paper``: the signals of every nucleus decide and nothing else.
        method: how nuclei are found.
        settings: further choices by name (``ctc_mm.imfish.ImFISHSettings``).
        others: nuclei that are no CTC are of class 1 (``label``), or, for a model of one class, ``background`` or
            ignored (``ignore``).
        cache_dir: where results are kept by content of the field, for other runs and loader workers; None: each
            process judges each field once.

    Raises:
        ValueError: an argument out of its range; or (on use) a channel is missing.
        ConfigError: (on use) no field, a window outside of it, or an image that was moved before.
        ImageReadError: (on use) the field cannot be read.
        AnnotationError: (on use) a damaged file in ``cache_dir``.
    """

    def __init__(
        self,
        channels: ChannelMap | str | None = None,
        mode: str = "full",
        method: str = "robust",
        settings: Mapping[str, Any] | None = None,
        others: Literal["label", "background", "ignore"] = "label",
        cache_dir: str | Path | None = None,
    ) -> None:
        self.channels = read_channel_map(channels)
        chosen = dict(settings or {})
        unknown = sorted(set(chosen) - set(ImFISHSettings().to_dict()) | {"mode", "method"} & set(chosen))
        if unknown:
            raise ValueError(f"settings takes names of ImFISHSettings other than mode and method, received {unknown}")
        if others not in OTHERS:
            raise ValueError(f"others must be one of {', '.join(OTHERS)}, received {others!r}")
        self.settings = ImFISHSettings(mode=mode, method=method, **chosen)
        self.others, self.cache_dir = others, cache_dir
        self._cache = ResultCache(cache_dir)

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels it gives: of as many classes as the model needs."""
        return (CTC_LABEL, OTHER_LABEL) if self.others == "label" else (CTC_LABEL,)

    def transform(self, results: dict) -> dict:
        """Add the truth of the window of ``results``."""
        result = self._classify(results)
        window = window_of(results, result.size_wh, "LabelCEP8")
        _require_unmoved(results, window)
        records, rows = self._label_window(result, window, results.get("core_xyxy"))
        boxes_xyxy = np.array([box for box, *_ in rows], np.float32).reshape(-1, 4)
        results["gt_bboxes"] = HorizontalBoxes(boxes_xyxy)
        results["gt_bboxes_labels"] = np.array([label for _, label, _, _ in rows], np.int64)
        results["gt_ignore_flags"] = np.array([ignored for _, _, ignored, _ in rows], bool)
        results["imfish_records"] = [record.to_dict() for record in records]
        results["imfish_record_index"] = np.array([index for *_, index in rows], np.int64)
        results["imfish_thresholds"] = result.thresholds.to_dict()
        results["cells_before_transforms"] = int(np.count_nonzero(~results["gt_ignore_flags"]))
        return results

    def _classify(self, results: dict) -> FieldResult:
        # The other cores are busy with the other loader workers.
        workers = 1 if get_worker_info() is not None else None
        source = field_source(results, self.channels)
        if source is not None:
            return self._cache.classify_source(source, self.settings, results.get("um_per_px"), workers=workers)
        with open_array(results, self.channels, "LabelCEP8") as field:
            return self._cache.classify_open(field, self.settings, workers=workers)

    def _label_window(
        self, result: FieldResult, window: RegionXYXY, core_xyxy: RegionXYXY | None
    ) -> tuple[list[NucleusRecord], list[tuple[np.ndarray, int, bool, int]]]:
        """Records of all that the window shows; and of each box in it the place, label, whether ignored, and record."""
        boxes_xyxy = np.array([record.box_xyxy for record in result.records], np.float32).reshape(-1, 4)
        size_wh = (window[2] - window[0], window[3] - window[1])
        seen = boxes_in_window(boxes_xyxy, window[:2], size_wh)
        shown = dict(zip(seen.whole.tolist(), seen.whole_xyxy, strict=True))
        cut = dict(zip(seen.cut.tolist(), seen.cut_xyxy, strict=True))
        in_window = sorted({*shown, *cut})
        records = [result.records[index] for index in in_window]
        rows = []
        for number, (index, record) in enumerate(zip(in_window, records, strict=True)):
            if self.others == "background" and not (record.is_ctc or record.is_rejected):
                continue
            ignored = index in cut or record.is_rejected or not _is_in(record, core_xyxy)
            ignored |= self.others == "ignore" and not record.is_ctc
            box = cut[index] if index in cut else shown[index]
            labels = self.labels if ignored else (CTC_LABEL if record.is_ctc else OTHER_LABEL,)
            rows += [(box, label, ignored, number) for label in labels]
        return records, rows

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(channels={self.channels}, settings={self.settings}, others={self.others!r}, "
            f"cache_dir={self.cache_dir!r})"
        )


def _is_in(record: NucleusRecord, core_xyxy: RegionXYXY | None) -> bool:
    if core_xyxy is None:
        return True
    x0, y0, x1, y1 = record.box_xyxy
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    return core_xyxy[0] <= middle_x < core_xyxy[2] and core_xyxy[1] <= middle_y < core_xyxy[3]


def _require_unmoved(results: dict, window: RegionXYXY) -> None:
    """Refuse an image whose boxes would lie elsewhere: of another window, or flipped, shifted or cropped before."""
    shape, wanted = results.get("ori_shape"), (window[3] - window[1], window[2] - window[0])
    if shape is not None and tuple(shape[:2]) != wanted:
        raise ConfigError(
            f"LabelCEP8: the image was read with (height, width) {tuple(shape[:2])}, but the window has {wanted}; read "
            "it with ctc_mm.LoadField, which takes the same window (region_xyxy) of the same field"
        )
    matrix = results.get("homography_matrix")
    is_moved = matrix is not None and bool(np.any(np.asarray(matrix) - np.diag(np.diag(matrix))))
    if results.get("flip") or is_moved:
        raise ConfigError(
            "LabelCEP8: the image was flipped, shifted or cropped before; put LabelCEP8 after ctc_mm.LoadField in "
            "training (in validation and test after Resize, before PackDetInputs)"
        )
