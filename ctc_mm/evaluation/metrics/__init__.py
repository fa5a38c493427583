"""metrics of ctc_mm."""
