"""A comparison of two configs over stand-ins of the tools, in a folder of a test."""

import torch
from fake_detector_run import InProcess
from mmengine.registry import MODELS
from tiny_fields import draw_fields, write_field_config

from ctc_mm.engine.comparison import ComparisonOptions, compare, read_contestants
from ctc_mm.engine.runs.single_run import RunCommands
from ctc_mm.engine.setup import load_config, register_all_modules

ALL = [f"{what} {name} seed_{seed}" for seed in (0, 1) for name in ("plain", "faster") for what in ("train", "test")]
KEEPS = """
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='ctc/mAP50', rule='greater'))
"""
FASTER = "optim_wrapper.update(optimizer=dict(type='Adam', lr=0.003))\n"


class FakeCommands(RunCommands):
    """Runs the stand-in."""

    def train(self, folder, resume):
        return ["train", str(folder.path)]

    def test(self, folder, checkpoint):
        assert checkpoint.is_file()
        return ["test", str(folder.path)]


class Comparison:
    """Two configs that differ in their learning rate, and a folder for their runs."""

    def __init__(self, folder):
        self.folder, self.out = folder, folder / "out"
        self.data = draw_fields(folder / "data")
        self.plain = write_field_config(folder / "plain.py", self.data, KEEPS)
        self.faster = write_field_config(folder / "faster.py", self.data, KEEPS + FASTER)
        (self.out / "runs").mkdir(parents=True)
        config = load_config(self.plain)
        register_all_modules(config.default_scope)
        torch.save({"state_dict": MODELS.build(config.model).state_dict()}, self.out / "checkpoint.pth")

    def __call__(self, configs=None, changes=None, trained=None, training=None, **options):
        contestants = read_contestants(configs or [self.plain, self.faster], changes, training, trained)
        options = {"seeds": (0, 1), "rounds": 0, "resamples": 60, **options}
        return compare(contestants, self.out, ComparisonOptions(**options), FakeCommands())

    def calls(self):
        path = self.out / "calls.txt"
        found = path.read_text().splitlines() if path.is_file() else []
        path.unlink(missing_ok=True)
        return found

    def run(self, config, seed):
        return self.out / "runs" / config / f"seed_{seed}"

    def bytes(self):
        return {path.name: path.read_bytes() for path in self.out.glob("comparison.*")}


def comparison_in(folder, monkeypatch):
    """A comparison whose runs take a moment each."""
    monkeypatch.setattr("ctc_mm.engine.comparison.run.Children", InProcess)
    # Drawing takes longer than all the rest; test_comparison_measuring.py draws.
    monkeypatch.setattr("ctc_mm.engine.comparison.drawing.png_bytes", lambda figure: b"drawn")
    return Comparison(folder)
