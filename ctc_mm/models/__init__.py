"""models of ctc_mm."""
