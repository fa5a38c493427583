"""What the reader of a comparison is told, and a comparison that was stopped."""

import json

import pytest
from fake_detector_run import InProcess
from tiny_comparison import ALL, FASTER, KEEPS, FakeCommands, comparison_in
from tiny_fields import write_field_config


@pytest.fixture
def comparison(tmp_path, monkeypatch):
    return comparison_in(tmp_path, monkeypatch)


def test_filters_are_told_and_those_that_filter_nothing_are_none(comparison):
    same = "dataset=dict(loader['dataset'], filter_cfg=dict(filter_empty_gt=False))"
    write_field_config(comparison.faster, comparison.data, KEEPS + f"train_dataloader = dict(loader, {same})\n")
    warnings = comparison().content["warnings"]
    assert not any("filter_cfg" in one for one in warnings)
    for path in (comparison.plain, comparison.faster):
        filters = "dataset=dict(loader['dataset'], filter_cfg=dict(min_size=60))"
        write_field_config(path, comparison.data, KEEPS + f"train_dataloader = dict(loader, {filters})\n")
    content = comparison(again=True).content
    assert content["data"]["parts"]["train"]["filter_cfg"] == "{'min_size': 60}"
    assert any("of the train part, images are left out by filter_cfg" in one for one in content["warnings"])


def test_trainings_that_see_more_are_told(comparison):
    assert not any("how much they see" in one for one in comparison().content["warnings"])
    repeated = (
        "train_dataloader = dict(loader, dataset=dict(type='RepeatDataset', times=3, dataset=loader['dataset']))\n"
    )
    write_field_config(comparison.faster, comparison.data, KEEPS + FASTER + repeated + "train_cfg['max_epochs'] = 5\n")
    (told,) = (one for one in comparison(again=True).content["warnings"] if "how much they see" in one)
    assert told == (
        "trainings differ in how much they see (plain: 2 epochs of batch 2; faster: 5 epochs of batch 2, "
        "RepeatDataset(times=3))"
    )
    text = (comparison.out / "comparison.md").read_text()
    assert f"Keep in mind: {told}." in text
    assert "| 2 | 1.0 (1.5 CPU) |" in text  # the stand-in always notes two epochs


def test_trainings_on_other_machines_are_told(comparison):
    result = comparison()
    assert not any("different machines" in one for one in result.content["warnings"])
    path = comparison.run("faster", 1) / "model" / "training_cost.json"
    cost = json.loads(path.read_text())
    for run, device in (("plain", "cpu"), ("faster", "a GPU")):
        path = comparison.run(run, 1) / "model" / "training_cost.json"
        path.write_text(json.dumps({**cost, "device": device, "torch": "2.11"}))
    (told,) = (one for one in comparison().content["warnings"] if "different machines" in one)
    assert told == "trainings ran on different machines or versions (device a GPU, cpu)"


def test_interrupted_comparison_goes_on_where_it_was(comparison, monkeypatch):
    whole = FakeCommands.train

    def interrupted(self, folder, resume):
        if folder.path == comparison.run("plain", 1):
            raise KeyboardInterrupt
        return whole(self, folder, resume)

    monkeypatch.setattr(InProcess, "stop", lambda self: None)
    monkeypatch.setattr(FakeCommands, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        comparison()
    done = comparison.calls()
    assert done[:4] == ALL[:4]  # the first seed of all
    monkeypatch.setattr(FakeCommands, "train", whole)
    comparison()
    assert sorted(done + comparison.calls()) == sorted(ALL)
    unbroken = comparison.bytes()
    comparison(again=True)
    assert comparison.bytes() == unbroken
