"""hooks of ctc_mm."""
