"""Unlabelled imFISH fields, cut into windows, as a detection data set; the rule labels them in the pipeline."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from mmdet.datasets import BaseDetDataset
from mmengine.logging import print_log

from ctc_mm.datasets.ctc_det_dataset import describe_images
from ctc_mm.datasets.transforms.label_cep8 import LabelCEP8
from ctc_mm.datasets.transforms.pipeline_field import USUAL_CHANNELS, read_channel_map
from ctc_mm.errors import ConfigError
from ctc_mm.formats.assemble import group_by
from ctc_mm.formats.report import ConversionReport, gather, no_progress
from ctc_mm.imaging.channels import ChannelMap
from ctc_mm.imaging.field_list import FieldSource, list_fields
from ctc_mm.registry import DATASETS

# Largest nucleus that lies whole in one window at least: 16 um at 0.25 um per pixel.
USUAL_OVERLAP_PX = 64


@DATASETS.register_module()
class ImFISHFieldDataset(BaseDetDataset):
    """The fields of a folder in windows of the network's size; ``ctc_mm.LabelCEP8`` in the pipeline gives the truth.

    Windows lie on a grid that starts at the field's corner and overlap, so that a nucleus up to ``overlap_px`` wide
    lies whole in at least one of them. The last of a row or column is shifted inside; a field smaller than a window is
    filled up. In training a nucleus may be learned in several windows; in test (``test_mode``) each counts in exactly
    one, the one whose core holds its middle (``core_xyxy``), and is ignored in the others.

    ::

        train_dataset = dict(
            type='ctc_mm.ImFISHFieldDataset', data_root='data/imfish', data_prefix=dict(img='train'),
            channels=dict(dapi=0, cep8=1, cd45=2),                      # all in one file, by place or name ...
            # channels=dict(dapi='*_DAPI.tif', cep8='*_CEP8.tif', cd45='*_CD45.tif')  # ... or a file each
            group_pattern='(P[0-9]+)_', window_px=320, pipeline=train_pipeline)

    Args:
        channels: place, name or file name pattern of each channel; see ``list_fields``.
        window_px: side of the windows.
        overlap_px: how far they reach into one another at least.
        um_per_px: side of a pixel; None: from each file, or from its nuclei.
        group_pattern: regular expression whose first pair of brackets finds slide or patient in a field's path; None:
            each field is a group of its own.
        **kwargs: those of ``mmdet.BaseDetDataset``; ``data_prefix['img']`` is the folder, and has no annotation file.

    Raises:
        ConfigError: windows that cannot be laid; ``metainfo`` whose first class is not the target, or with fewer
            classes than ``LabelCEP8`` in the pipeline gives.
        AnnotationError: the folder is not there, or ``group_pattern`` does not fit a field.
        ImageReadError: there is no field, or fields cannot be read.
    """

    METAINFO: ClassVar[dict] = dict(classes=("CTC", "non-CTC"), palette=[(220, 20, 60), (60, 160, 220)])

    def __init__(
        self,
        *args: Any,
        channels: ChannelMap | str | None = None,
        window_px: int = 320,
        overlap_px: int = USUAL_OVERLAP_PX,
        um_per_px: float | None = None,
        group_pattern: str | None = None,
        **kwargs: Any,
    ) -> None:
        if window_px < 1 or not 0 <= overlap_px < window_px:
            raise ConfigError(
                "ImFISHFieldDataset: `window_px` must be above `overlap_px`, which is at least 0. "
                f"Received: {window_px}, {overlap_px}"
            )
        self.channels = read_channel_map(USUAL_CHANNELS if channels is None else channels)
        self.window_px, self.overlap_px = window_px, overlap_px
        self.um_per_px, self.group_pattern = um_per_px, group_pattern
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find the fields and lay the windows."""
        self._check_classes()
        folder = Path(self.data_prefix.get("img") or self.data_root)
        report = ConversionReport()
        sources = list_fields(folder, self.channels, report=report)
        fields = gather(sources, self._describe, no_progress, "fields")
        self._metainfo.update(describe_images(fields, str(folder)), channels=dict(self.channels))
        data_list = [dict(info, img_id=number) for number, info in enumerate(self._windows(fields))]
        left_out = ", ".join(f"{count} {reason}" for reason, count in report.skipped_counts.items()) or "none"
        groups = len(Counter(field["group"] for field in fields))
        print_log(
            f"{folder}: {len(fields)} fields of {groups} groups in {len(data_list)} windows; left out: {left_out}.",
            logger="current",
        )
        return data_list

    def _check_classes(self) -> None:
        classes = tuple(self.metainfo.get("classes") or ())
        target = self._metainfo.setdefault("target", classes[0] if classes else None)
        if not classes or target != classes[0]:
            raise ConfigError(
                f"ImFISHFieldDataset: class 0 is the CTC, the target of the rule. Received: classes {classes}, target "
                f"{target!r}"
            )
        for step in self.pipeline.transforms:
            if isinstance(step, LabelCEP8) and len(step.labels) > len(classes):
                raise ConfigError(
                    f"ImFISHFieldDataset: LabelCEP8 labels {len(step.labels)} classes, but metainfo.classes are "
                    f"{classes}; name the other nuclei too, or give LabelCEP8 others='background' or 'ignore'"
                )

    def _describe(self, source: FieldSource) -> dict:
        """What all windows of a field share."""
        with source.open(self.um_per_px) as field:
            size_wh, um_per_px = field.size_wh, field.um_per_px
        path = source.relative_path
        info: dict[str, Any] = {
            "img_path": str(next(iter(source.paths.values()))),
            "field_name": source.name,
            "field_wh": size_wh,
            "group": source.name if self.group_pattern is None else group_by(self.group_pattern, path),
        }
        if um_per_px is not None:
            info["um_per_px"] = um_per_px
        if "" in source.paths:
            info["channel_map"] = dict(source.channels)
        else:
            info["channel_paths"] = {name: str(path) for name, path in source.paths.items()}
        return info

    def _windows(self, fields: list[dict]) -> list[dict]:
        windows = []
        for field in fields:
            columns, rows = (lay_windows(side, self.window_px, self.overlap_px) for side in field["field_wh"])
            for y, top, bottom in rows:
                for x, left, right in columns:
                    region = (x, y, x + self.window_px, y + self.window_px)
                    info = dict(field, region_xyxy=region, width=self.window_px, height=self.window_px, instances=[])
                    if self.test_mode:
                        info["core_xyxy"] = (left, top, right, bottom)
                    windows.append(info)
        return windows


def lay_windows(side_px: int, window_px: int, overlap_px: int) -> list[tuple[int, int, int]]:
    """Windows along one side of a field, each with its core; the cores cover the field once.

    Args:
        side_px: of the field.
        window_px: of the windows.
        overlap_px: least overlap of two neighbours.

    Returns:
        Start of the window, start and end of its core, for each; one window that starts at 0 where the field is no
        larger.
    """
    if side_px <= window_px:
        return [(0, 0, side_px)]
    starts = [*range(0, side_px - window_px, window_px - overlap_px), side_px - window_px]
    # Two neighbours meet in the middle of what they share.
    meet = [(second + first + window_px) // 2 for first, second in zip(starts, starts[1:], strict=False)]
    return list(zip(starts, [0, *meet], [*meet, side_px], strict=True))
