"""dense_heads of ctc_mm."""
