"""phantoms of ctc_mm."""
