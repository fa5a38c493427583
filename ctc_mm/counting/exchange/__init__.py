"""Counts as files that other programs open (CSV, Parquet, QuPath's GeoJSON, COCO), and corrected ones read back."""
