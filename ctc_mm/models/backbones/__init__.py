"""backbones of ctc_mm."""
