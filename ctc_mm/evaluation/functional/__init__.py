"""functional of ctc_mm."""
