"""Counting CTCs on slides: reading, routes, merging, statistics, count card, report."""
