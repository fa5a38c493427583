from collections import Counter

import numpy as np
import pytest

from ctc_mm.datasets.samplers import down_sampler
from ctc_mm.datasets.samplers.down_sampler import DownSampler, labels_of
from ctc_mm.errors import ConfigError
from ctc_mm.registry import DATA_SAMPLERS, DATASETS


class Labels:
    """A data set that knows its classes."""

    test_mode = False

    def __init__(self, labels, **attributes):
        self.labels = labels
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.labels)

    def get_cat_ids(self, index):
        return list(np.atleast_1d(self.labels[index]))


FEW = Labels([1] * 60 + [0] * 10 + [1] * 30)


def sampler(dataset=FEW, **options):
    return DATA_SAMPLERS.build({"type": "ctc_mm.DownSampler", "dataset": dataset, "seed": 0} | options)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (Labels([]), {}, "class 0 has 0 samples and the others 0"),
        (Labels([1, 1]), {}, "class 0 has 0 samples and the others 2"),
        (Labels([0, 0]), {}, "class 0 has 2 samples and the others 0"),
        (FEW, {"target": 4}, "class 4 has 0 samples"),
        (FEW, {"ratio": 0}, "`ratio` must be a number above 0. Received: 0"),
        (FEW, {"ratio": -1.0}, "`ratio` must be"),
        (FEW, {"ratio": float("nan")}, "`ratio` must be"),
        (FEW, {"ratio": float("inf")}, "`ratio` must be"),
        (FEW, {"ratio": "2"}, "`ratio` must be"),
        (FEW, {"ratio": True}, "`ratio` must be"),
        (Labels([0, 1], test_mode=True), {}, r"is for testing \(test_mode=True\).*train_dataloader"),
        (Labels([0, 1], dataset=Labels([0], test_mode=True)), {}, "is for testing"),
        (Labels([0, 1], datasets=[Labels([0]), Labels([1], test_mode=True)]), {}, "is for testing"),
        (Labels([0, [0, 1]]), {}, r"sample 1 has 2 classes \(\[0, 1\]\)"),
        (Labels([0, []]), {}, "sample 1 has 0 classes"),
        ([0, 1], {}, "list does not tell the classes of its samples"),
    ],
)
def test_what_cannot_be_sampled(dataset, options, message):
    with pytest.raises(ConfigError, match=message):
        sampler(dataset, **options)


@pytest.mark.parametrize(("ratio", "others"), [(1, 10), (1.0, 10), (2.5, 25), (0.5, 5), (0.01, 1), (9, 90)])
def test_ratio(ratio, others):
    places = list(sampler(ratio=ratio))
    assert Counter(FEW.labels[place] for place in places) == {0: 10, 1: others}
    assert len(set(places)) == len(places) == len(sampler(ratio=ratio))


def test_a_ratio_that_cannot_be_met_is_said(monkeypatch):
    said = []
    monkeypatch.setattr(down_sampler, "print_log", lambda text, level, **_: said.append((level, text)))
    assert len(sampler(ratio=20)) == 100
    assert said[0][0] == 30
    assert "90 of 90 others" in said[0][1]
    assert "The ratio 20 cannot be met: it asks for 200 others" in said[0][1]
    sampler(ratio=1)
    assert said[1][0] == 20


def test_every_other_sample_has_the_same_chance():
    labels = [0] * 10 + [1] * 60 + [2] * 27 + [3] * 3
    one = sampler(Labels(labels))
    drawn = Counter(labels[place] for epoch in range(900) for place in one.indices(epoch))
    assert drawn[0] == 9000
    for label, members in ((1, 60), (2, 27), (3, 3)):  # each of 90 is drawn in a ninth of 900 epochs, more or less
        assert drawn[label] / members == pytest.approx(100, rel=0.1)


def others_of(one, epoch):
    one.set_epoch(epoch)
    return {place for place in one if FEW.labels[place] == 1}


def test_drawn_anew_each_epoch_so_that_all_are_seen():
    one = sampler()
    draws = [others_of(one, epoch) for epoch in range(60)]
    assert len({frozenset(draw) for draw in draws}) == 60
    assert set().union(*draws) == {place for place, label in enumerate(FEW.labels) if label == 1}
    assert others_of(sampler(), 3) == draws[3]  # after a resume
    assert others_of(sampler(seed=1), 3) != draws[3]


def test_drawn_once_as_in_the_paper():
    one = sampler(once=True)
    first = list(one)
    one.set_epoch(7)
    assert sorted(one) == sorted(first)
    assert list(one) != first  # the order changes all the same


def test_without_shuffling_the_order_is_that_of_the_data_set():
    places = list(sampler(shuffle=False))
    assert places == sorted(places)


@pytest.mark.parametrize("round_up", [True, False])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_processes_share_one_draw(monkeypatch, world_size, round_up):
    parts = []
    for rank in range(world_size):
        monkeypatch.setattr(down_sampler, "get_dist_info", lambda rank=rank: (rank, world_size))
        one = sampler(round_up=round_up)
        one.set_epoch(2)
        parts.append(list(one))
        assert len(parts[-1]) == len(one)
    alone = sampler().indices(2)
    together = [place for part in parts for place in part]
    assert set(together) == set(alone)
    if round_up:
        assert len({len(part) for part in parts}) == 1
        assert len(together) - len(alone) < world_size
    else:
        assert sorted(together) == sorted(alone)


def test_more_processes_than_samples(monkeypatch):
    monkeypatch.setattr(down_sampler, "get_dist_info", lambda: (6, 7))
    one = sampler(Labels([0, 1]))
    assert len(one) == len(list(one)) == 1


@pytest.mark.parametrize("wrapper", ["ConcatDataset", "RepeatDataset", "ClassBalancedDataset"])
def test_wrapped_data_sets(write_cells, build_cells, wrapper):
    root = write_cells([("a", "CTC"), *((f"w{n}", "WBC") for n in range(9))])
    inner = build_cells(root)
    options = {
        "ConcatDataset": {"datasets": [inner, build_cells(root)]},
        "RepeatDataset": {"dataset": inner, "times": 2},
        "ClassBalancedDataset": {"dataset": inner, "oversample_thr": 0.4},
    }[wrapper]
    dataset = DATASETS.build({"type": wrapper, **options})
    labels = labels_of(dataset)
    assert Counter(labels.tolist())[0] == 2
    one = DownSampler(dataset, ratio=2, seed=0)
    assert Counter(labels[list(one)].tolist()) == {0: 2, 1: 4}
    test = build_cells(root, test_mode=True)
    with pytest.raises(ConfigError, match="is for testing"):
        DownSampler(DATASETS.build({"type": "RepeatDataset", "dataset": test, "times": 2}))
