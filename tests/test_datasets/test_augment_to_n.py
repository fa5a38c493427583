from collections import Counter

import numpy as np
import pytest
import torch

from ctc_mm.datasets import augment_to_n
from ctc_mm.datasets.augment_to_n import seeded
from ctc_mm.datasets.cell_meta import CELL_META_KEYS
from ctc_mm.datasets.samplers.down_sampler import DownSampler
from ctc_mm.errors import ConfigError
from ctc_mm.registry import DATASETS

LOAD = [{"type": "ctc_mm.LoadCellImage"}]
PACK = [{"type": "PackInputs", "meta_keys": CELL_META_KEYS}]
TURN = [{"type": "ctc_mm.CellGeometry"}]


@pytest.fixture
def build(write_cells, build_cells):
    """An AugmentToN over 3 CTC and 5 WBC."""
    cells = [(f"c{n}", "CTC") for n in range(3)] + [(f"w{n}", "WBC") for n in range(5)]
    root = write_cells(cells)

    def make(n=7, inner=None, **options):
        dataset = {"type": "ctc_mm.SingleCellDataset", "data_root": str(root), "pipeline": LOAD} | (inner or {})
        config = {"type": "ctc_mm.AugmentToN", "dataset": dataset, "n": n, "augment": TURN, "pipeline": PACK}
        return DATASETS.build(config | options)

    return make


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "`n` must be a whole number of at least 1"),
        ({"n": 2.5}, "`n` must be a whole number"),
        ({"n": True}, "`n` must be a whole number"),
        ({"n": {"RBC": 9}}, r"one for each of \['CTC', 'WBC'\]. Received: {'RBC': 9}"),
        ({"augment": []}, "`augment` names no transform"),
        ({"inner": {"test_mode": True}}, "is for testing"),
    ],
)
def test_wrong_arguments(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)


def test_samples_that_are_packed_already_are_refused(build):
    with pytest.raises(ConfigError, match="packs the samples already"):
        build(inner={"pipeline": LOAD + PACK})[0]


def test_a_transform_that_drops_images_is_refused(build):
    with pytest.raises(ConfigError, match=r"gave nothing for .*c0__brightfield\.png"):
        build(augment=[lambda results: None])[8]


def test_each_class_reaches_n_and_originals_come_first(build):
    dataset = build(7)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [(info["cell_id"], info["copy_index"]) for info in infos[:8]] == [
        *((f"c{n}", 0) for n in range(3)), *((f"w{n}", 0) for n in range(5)),
    ]  # fmt: skip
    assert Counter(dataset.get_cat_ids(index)[0] for index in range(len(dataset))) == {0: 7, 1: 7}
    copies = Counter(info["cell_id"] for info in infos[8:])
    assert sorted(copies[f"c{n}"] for n in range(3)) == [1, 1, 2]
    assert sorted(copies[f"w{n}"] for n in range(5)) == [0, 0, 0, 1, 1]
    assert len({(info["cell_id"], info["copy_index"]) for info in infos}) == 14
    assert [info["sample_idx"] for info in infos] == list(range(14))
    assert dataset.metainfo["classes"] == ("CTC", "WBC")


def test_originals_stay_as_they_are_and_copies_change(build):
    dataset = build(7)
    for index in range(len(dataset)):
        sample = dataset[index]
        told = sample["data_samples"]
        original = dataset.dataset[int(told.cell_id[1]) + (3 if told.cell_id[0] == "w" else 0)]["img"]
        is_same = np.array_equal(sample["inputs"].numpy(), np.moveaxis(original, -1, 0))
        assert is_same == (told.copy_index == 0)
        assert told.sample_idx == index


def test_fixed_copies_are_the_same_in_every_epoch_and_others_are_not(build):
    fixed, drawn = build(fixed=True), build()
    for index in (9, 12):
        assert torch.equal(fixed[index]["inputs"], fixed[index]["inputs"])
        assert not torch.equal(drawn[index]["inputs"], drawn[index]["inputs"])
    # Another process, another order of calls: still the same; another seed: not.
    assert torch.equal(build(fixed=True)[12]["inputs"], fixed[12]["inputs"])
    assert not torch.equal(build(fixed=True, seed=1)[9]["inputs"], fixed[9]["inputs"])
    # Two copies of one cell differ.
    copies = {}
    for index in range(8, 14):
        sample = fixed[index]
        copies.setdefault(sample["data_samples"].cell_id, []).append(sample["inputs"])
    first, second = next(found for found in copies.values() if len(found) == 2)
    assert not torch.equal(first, second)


def test_fixed_copies_leave_chance_elsewhere_as_it_was(build):
    dataset = build(fixed=True)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    expected = np.random.random(), torch.rand(1)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    dataset[10]
    assert (np.random.random(), torch.rand(1)) == expected  # noqa: NPY002
    with pytest.raises(RuntimeError), seeded(3):
        raise RuntimeError


def test_a_class_of_n_and_more_stays_whole(build, monkeypatch):
    said = []
    monkeypatch.setattr(augment_to_n, "print_log", lambda text, level=20, **_: said.append((level, text)))
    dataset = build(4)
    assert Counter(dataset.get_cat_ids(index)[0] for index in range(len(dataset))) == {0: 4, 1: 5}
    assert said == [
        (30, "AugmentToN: class WBC has more than 4 already; all are kept."),
        (20, "AugmentToN: CTC 3 + 1 copies, WBC 5 + 0 copies."),
    ]


def test_n_of_some_classes(build):
    dataset = build({"CTC": 5})
    assert Counter(dataset.get_cat_ids(index)[0] for index in range(len(dataset))) == {0: 5, 1: 5}


def test_ends_of_the_data_set(build):
    dataset = build(7, lazy_init=True)
    assert torch.equal(dataset[-14]["inputs"], dataset[0]["inputs"])
    assert dataset[-14]["data_samples"].sample_idx == 0
    for index in (14, -15):
        with pytest.raises(IndexError, match="has 14 samples"):
            dataset[index]


def test_under_the_down_sampler_and_in_a_loader(build):
    dataset = build({"CTC": 4, "WBC": 9})
    sampler = DownSampler(dataset, ratio=0.5, seed=0)
    labels = [int(dataset[index]["data_samples"].gt_label) for index in sampler]
    assert Counter(labels) == {0: 4, 1: 2}
    loader = torch.utils.data.DataLoader(dataset, sampler=sampler, num_workers=1, collate_fn=list, batch_size=3)
    assert sum(len(batch) for batch in loader) == 6
