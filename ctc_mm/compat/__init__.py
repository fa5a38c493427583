"""What lets ctc_mm run on a plain ``pip install``: torchvision in the place of mmcv's compiled ops, clashes refused."""

from ctc_mm.compat.conflicts import check_distributions
from ctc_mm.compat.mmcv_ext import install_stand_in

__all__ = ["check_distributions", "install_stand_in"]
