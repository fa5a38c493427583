"""The whole job on a synthetic set, by the very commands a user would type: a detector, then a classifier of cells."""

from ctc_mm.demo.run import DemoSettings, run_demo

__all__ = ["DemoSettings", "run_demo"]
