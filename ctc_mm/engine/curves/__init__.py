"""Curves of trainings: what MMEngine logged, joined over resumes, averaged over runs, drawn."""
