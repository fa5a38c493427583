"""The benchmarks' command lines and statistics; what they measure is not tested."""

import importlib
import sys
import threading

import pytest
import torch


@pytest.fixture
def scripts(repo, monkeypatch):
    """Imports a script of benchmarks/ by name, as if it were run there."""
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module
    for name in {"common", "ssd_cost", "training_step", "training_throughput"} - before:
        sys.modules.pop(name, None)


@pytest.fixture
def common(scripts):
    return scripts("common")


def test_ratios_of_no_round_are_refused(common):
    with pytest.raises(ValueError, match=r"at least one.*Received: \[\] and \[\]"):
        common.ratios([], [])
    with pytest.raises(ValueError, match="at least one value"):
        common.Quartiles.of([])


@pytest.mark.parametrize("baseline", [[1.0], [1.0, 0.0]], ids=["other rounds", "zero"])
def test_ratios_that_mean_nothing_are_refused(common, baseline):
    with pytest.raises(ValueError, match="baseline above 0"):
        common.ratios([1.0, 2.0], baseline)


def test_ratios_compare_each_round_with_itself(common):
    """The machine is ten times slower in round 1; the ratios 1.1, 1.0, 1.2, 1.3, 1.4 do not see it."""
    result = common.ratios([1.1, 20.0, 3.6, 5.2, 7.0], [1.0, 20.0, 3.0, 4.0, 5.0])
    assert result.median == pytest.approx(1.2)
    assert result.quartile1 == pytest.approx(1.1)
    assert result.quartile3 == pytest.approx(1.3)
    assert str(result) == "1.200 (1.100-1.300)"


def test_models_take_turns_at_going_first(common):
    names = ["a", "b", "c"]
    assert [common.in_turn(names, i) for i in (-1, 0, 1, 3)] == [list("cab"), list("abc"), list("bca"), list("abc")]


def test_processor_time_counts_work_and_not_waiting(common):
    event = threading.Event()
    wall_s, processor_s = common.clock(lambda: event.wait(0.2), torch.device("cpu"))
    assert wall_s >= 0.2
    assert processor_s < 0.1


def test_peak_memory_never_falls(common):
    before = common.peak_mib()
    block = bytearray(b"x" * (64 * common.MIB))
    grown = common.peak_mib()
    assert grown >= common.resident_mib() - 1 >= 63
    del block
    assert common.peak_mib() >= grown >= before


def test_table_is_markdown(common):
    assert common.markdown_table(["model", "x"], [("ssd", 1)]) == "| model | x |\n| --- | ---: |\n| ssd | 1 |"


def test_cost_is_the_ratio_to_the_first_model(scripts):
    seconds = {"plain": [2.0, 4.0, 2.0], "both": [2.2, 4.8, 2.0]}
    times = {
        name: {part: {"wall_s": values, "processor_s": [2 * v for v in values]} for part in ("network", "predict")}
        for name, values in seconds.items()
    }
    summary = scripts("ssd_cost").summarise(times, batch_size=4)
    assert summary["plain"]["network"]["images_per_s"] == pytest.approx(2.0)
    assert summary["plain"]["predict"]["wall_ratio"].quartile3 == 1.0
    for clock in ("wall_ratio", "processor_ratio"):
        assert summary["both"]["network"][clock].median == pytest.approx(1.1)


def test_share_of_data_time(scripts):
    result = scripts("training_throughput").summarise({"time": [1.0, 3.0], "data_time": [0.1, 0.1]}, batch_size=8)
    assert result["images_per_s"] == pytest.approx(4.0)
    assert result["data_share"] == pytest.approx(0.05)
    assert result["data_share_by_step"].median == pytest.approx((0.1 + 0.1 / 3) / 2)


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("ssd_cost", ["--rounds", "0"], "start at 1"),
        ("ssd_cost", ["a/ssd.py", "b/ssd.py"], "names of their own"),
        ("training_throughput", ["--batch-size", "0"], "start at 1"),
        ("training_step", ["a.py", "--batch-size", "0"], "start at 1"),
        ("training_step", ["a.py", "--warmup", "-1"], "--warmup at 0"),
    ],
)
def test_bad_numbers_are_refused(scripts, capsys, script, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        scripts(script).parse_args(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_step_is_told_by_image_and_without_the_libraries(scripts):
    memory = dict(libraries_mib=900.0, peak_mib=1234.4)
    found = dict(batch_size=4, wall_s=[2.0, 4.0, 8.0], processor_s=[2.0] * 3, parameters_m=3.04, **memory)
    (row,) = scripts("training_step").rows_of({"a": found})
    assert row == ("a", "4", "3.0", "1.000 (0.750-1.500)", "0.500 (0.500-0.500)", "334")


def test_boxes_of_a_drawn_step_lie_in_the_image(scripts):
    batch = scripts("training_step").drawn_batch(2, 64, 3, seed=0)
    again = scripts("training_step").drawn_batch(2, 64, 3, seed=0)
    assert [one.shape for one in batch["inputs"]] == [(3, 64, 64)] * 2
    for image, other, sample in zip(batch["inputs"], again["inputs"], batch["data_samples"], strict=True):
        assert torch.equal(image, other)
        boxes = sample.gt_instances.bboxes
        assert boxes.min() >= 0
        assert boxes.max() <= 64
        assert (boxes[:, 2:] - boxes[:, :2]).min() >= 20
        assert set(sample.gt_instances.labels.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("script", ["ssd_cost", "training_step", "training_throughput"])
def test_help_gives_an_example(scripts, capsys, script):
    with pytest.raises(SystemExit) as stopped:
        scripts(script).main(["--help"])
    assert stopped.value.code == 0
    assert f"example: python benchmarks/{script}.py" in capsys.readouterr().out
