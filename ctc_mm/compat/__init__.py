"""What lets ctc_mm run on a plain ``pip install``: torchvision in the place of mmcv's compiled ops."""

from ctc_mm.compat.mmcv_ext import install_stand_in

__all__ = ["install_stand_in"]
