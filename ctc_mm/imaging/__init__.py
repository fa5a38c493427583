"""imaging of ctc_mm."""
