"""Samplers of ctc_mm, one file each."""

from ctc_mm.datasets.samplers.down_sampler import DownSampler

__all__ = ["DownSampler"]
