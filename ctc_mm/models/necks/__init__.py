"""necks of ctc_mm."""
