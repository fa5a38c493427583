"""Anchors fitted to a data set: its boxes as the network sees them, what a generator can be told, the fit."""

from ctc_mm.engine.anchor_fit.boxes import NetworkBoxes, boxes_of_coco, boxes_of_config
from ctc_mm.engine.anchor_fit.fit import AnchorFit, fit_config, fit_file

__all__ = ["AnchorFit", "NetworkBoxes", "boxes_of_coco", "boxes_of_config", "fit_config", "fit_file"]
