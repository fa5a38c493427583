"""evaluation of ctc_mm."""
