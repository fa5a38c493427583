"""ctc_mm: find and count circulating tumor cells (CTCs), a plugin of MMDetection and MMPretrain.

Importing it is light (no torch). It has to come before ``mmcv.ops``: see ``ctc_mm.compat``.
"""

from ctc_mm.compat import check_distributions, install_stand_in

__version__ = "0.1.0"

check_distributions()
install_stand_in()
