"""The table of the engines' benchmark; what it measures is not tested."""

import importlib
import sys

import pytest


@pytest.fixture
def engines(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module("engines")
    for name in {"common", "engines"} - before:
        sys.modules.pop(name, None)


def test_engines_are_compared_with_pytorch_round_by_round(engines):
    """The machine is ten times slower in round 2."""
    times = {"torch": [1.0, 10.0, 2.0], "openvino": [0.5, 5.0, 0.8]}
    result = {"model": "ssd", "processor_s": times, "score_difference": {"torch": 0.0, "openvino": 5.4e-7}}
    assert engines.rows_of(result) == [
        ("ssd", "torch", "1.000 (1.000-1.000)", "1.0 x", ""),
        ("ssd", "openvino", "0.500 (0.450-0.500)", "2.0 x", "5e-07"),
    ]


@pytest.mark.parametrize("option", ["--batch-size", "--rounds", "--threads"])
def test_numbers_below_1_are_bad_usage(engines, option, capsys):
    with pytest.raises(SystemExit, match="2"):
        engines.parse_args(["a.py", option, "0"])
    assert "start at 1" in capsys.readouterr().err
