import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from ctc_mm.datasets.splits import (
    LeakWarning,
    holdout,
    kfold,
    leave_one_group_out,
    part_counts,
    read_split_file,
    surplus,
    write_split_file,
)
from ctc_mm.errors import AnnotationError, ConfigError
from ctc_mm.formats.fields import load_json_object
from ctc_mm.formats.files import write_json


def units(sizes, prefix="P"):
    """Ids, strata and groups of groups with (CTC, WBC) cells each."""
    rows = [
        (f"{prefix}{group}_{number:03d}", "CTC" if number < ctc else "WBC", f"{prefix}{group}")
        for group, (ctc, wbc) in enumerate(sizes)
        for number in range(ctc + wbc)
    ]
    return tuple(list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])


def require_whole(split, ids, groups):
    """Every fold holds each unit once, and no group in two parts; the test parts hold each unit once together."""
    group_of = dict(zip(ids, groups, strict=True))
    for fold in split.folds:
        parts = [fold.train, fold.val, fold.test, split.held_out]
        assert sorted(itertools.chain(*parts)) == sorted(ids)
        for one, other in itertools.combinations(parts, 2):
            assert not {group_of[name] for name in one} & {group_of[name] for name in other}
    if split.kind != "holdout":
        tested = sorted(itertools.chain(*(fold.test for fold in split.folds)))
        assert tested == sorted(set(ids) - set(split.held_out))


@pytest.mark.parametrize("make", [kfold, holdout, leave_one_group_out], ids=lambda make: make.__name__)
def test_nothing_to_divide_is_refused(make):
    with pytest.raises(ConfigError, match="there are 0"):
        make([], [], [])


SIZES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 60)), min_size=6, max_size=40)


def is_dividable(sizes, holders):
    return all(sum(size[stratum] > 0 for size in sizes) >= holders for stratum in (0, 1))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sizes=SIZES, folds=st.integers(2, 5), seed=st.integers(0, 3), held_out=st.sampled_from([0, 0.2]))
def test_folds_are_disjoint_complete_and_whole(sizes, folds, seed, held_out):
    sizes = [size for size in sizes if sum(size)]
    if not is_dividable(sizes, folds + 4):
        return
    ids, strata, groups = units(sizes)
    split = kfold(ids, strata, groups, folds=folds, seed=seed, held_out=held_out)
    require_whole(split, ids, groups)
    assert len(split.folds) == folds
    for fold in split.folds:
        assert fold.train
        assert fold.val
        assert fold.test
        assert {strata[ids.index(name)] for name in fold.train} == {"CTC", "WBC"}


@settings(max_examples=12, deadline=None, derandomize=True)
@given(sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(5, 15)), min_size=40, max_size=60))
def test_with_many_groups_every_part_has_its_share(sizes):
    """Groups are small beside a fold: each part gets its share of each class to within one group's cells."""
    ids, strata, groups = units(sizes)
    split = kfold(ids, strata, groups, folds=5, val_fraction=0.25)
    totals = {name: strata.count(name) for name in ("CTC", "WBC")}
    for row in part_counts(split, dict(zip(ids, strata, strict=True))):
        share = {"train": 0.6, "val": 0.2, "test": 0.2}[row["part"]]
        for name, largest in (("CTC", 4), ("WBC", 15)):
            assert abs(row[name] - share * totals[name]) <= largest


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ctc=st.integers(5, 40), wbc=st.integers(5, 400), folds=st.integers(2, 5), seed=st.integers(0, 3))
def test_ungrouped_parts_have_their_share_within_one_unit(ctc, wbc, folds, seed):
    ids, strata, _ = units([(ctc, wbc)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        split = kfold(ids, strata, folds=folds, seed=seed)
    require_whole(split, ids, ids)
    for row in part_counts(split, dict(zip(ids, strata, strict=True))):
        if row["part"] == "test":
            assert abs(row["CTC"] - ctc / folds) < 1
            assert abs(row["WBC"] - wbc / folds) < 1
            assert abs(row["CTC"] + row["WBC"] - (ctc + wbc) / folds) < 2


@settings(max_examples=10, deadline=None, derandomize=True)
@given(order=st.randoms(use_true_random=False), seed=st.integers(0, 5))
def test_order_of_the_table_does_not_matter(order, seed):
    rows = list(zip(*units([(3, 9)] * 12), strict=True))
    first = kfold(*zip(*rows, strict=True), seed=seed)
    order.shuffle(rows)
    assert kfold(*zip(*rows, strict=True), seed=seed) == first


def test_another_seed_gives_another_split():
    table = units([(3, 9)] * 12)
    assert kfold(*table, seed=0) != kfold(*table, seed=1)
    assert kfold(*table, seed=0) == kfold(*table, seed=0)


def worst_miss(strata, fold_of, folds=5):
    """Largest difference between a fold's share of the CTCs and its fifth."""
    counts = np.bincount(fold_of[np.array(strata) == "CTC"], minlength=folds)
    return np.abs(counts / counts.sum() - 1 / folds).max()


def test_ctcs_are_spread_more_evenly_than_by_scikit_learn():
    """Cohorts of 20 patients, most CTCs in a few of them."""
    ours, theirs = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        ctc, wbc = rng.negative_binomial(0.8, 0.03, 20) + 1, rng.lognormal(4, 0.8, 20).astype(int) + 5
        ids, strata, groups = units(zip(ctc.tolist(), wbc.tolist(), strict=True))
        split = kfold(ids, strata, groups, seed=seed)
        place = {name: number for number, fold in enumerate(split.folds) for name in fold.test}
        ours.append(worst_miss(strata, np.array([place[name] for name in ids])))
        fold_of = np.zeros(len(ids), int)
        dealt = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(ids, strata, groups)
        for number, (_, tested) in enumerate(dealt):
            fold_of[tested] = number
        theirs.append(worst_miss(strata, fold_of))
    assert np.mean(ours) < 0.5 * np.mean(theirs)


def test_a_group_larger_than_a_fold_stays_whole():
    ids, strata, groups = units([(100, 900), *[(5, 20)] * 8])
    split = kfold(ids, strata, groups, folds=4)
    require_whole(split, ids, groups)
    assert sorted(len(fold.test) for fold in split.folds)[-1] == 1000  # alone
    assert all({strata[ids.index(name)] for name in fold.val} == {"CTC", "WBC"} for fold in split.folds)


def test_leaving_one_group_out():
    ids, strata, groups = units([(5, 20), (2, 30), (0, 10), (9, 0)])
    split = leave_one_group_out(ids, strata, groups)
    require_whole(split, ids, groups)
    assert [fold.name for fold in split.folds] == ["P0", "P1", "P2", "P3"]
    for fold in split.folds:
        assert {name.split("_")[0] for name in fold.test} == {fold.name}


def test_holding_out_given_units():
    ids, strata, groups = units([(4, 10)] * 6)
    test_ids = [name for name in ids if name.startswith(("P1_", "P4_"))]
    split = holdout(ids, strata, groups, test_ids=test_ids)
    assert list(split.folds[0].test) == sorted(test_ids)
    require_whole(split, ids, groups)
    with pytest.raises(ConfigError, match=r"1 groups would be both kept aside and used \(P1\)"):
        holdout(ids, strata, groups, test_ids=test_ids[:3])
    with pytest.raises(ConfigError, match="1 ids to be kept aside are no units, such as 'x'"):
        kfold(ids, strata, groups, held_out=["x"])


def test_rare_strata_need_not_be_in_training_where_that_is_said():
    ids, strata, groups = units([(0, 10)] * 9 + [(6, 4)])
    with pytest.raises(ConfigError, match="all 6 units of 'CTC' are in one of the groups"):
        kfold(ids, strata, groups, folds=3)
    with pytest.warns(UserWarning, match="'CTC' occurs in 1 groups only, so 2 of 3 folds are tested without it"):
        split = kfold(ids, strata, groups, folds=3, required=["WBC"])
    require_whole(split, ids, groups)


def test_ungrouped_splits_warn():
    ids, strata, groups = units([(5, 9)] * 4)
    with pytest.warns(LeakWarning, match="ungrouped split, as in the papers"):
        split = kfold(ids, strata)
    assert split.group_key is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kfold(ids, strata, groups, folds=2, val_fraction=0.3).group_key == "group"


ONE = units([(5, 30)])
FEW = units([(5, 30), (4, 20), (3, 10)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kfold(*ONE), r"5 folds need at least 5 groups, and there are 1 \(P0\); .*finer column.*ungrouped"),
        (lambda: holdout(*ONE), "keeping a part aside need at least 2 groups"),
        (lambda: kfold(*FEW, folds=3, held_out=0.2), "3 folds need at least 3 groups, and there are 2"),
        (lambda: leave_one_group_out(*units([(1, 2), (2, 1)])), "need at least 3 groups, and there are 2"),
        (lambda: leave_one_group_out(ONE[0], ONE[1], None), "needs the units' groups"),
        (lambda: kfold(*FEW, folds=1), "`folds` must be a whole number of at least 2. Received: 1"),
        (lambda: kfold(*FEW, folds=2.5), "`folds` must be a whole number"),
        (lambda: kfold(*FEW, val_fraction=1), "`val_fraction` must be at least 0 and under 1"),
        (lambda: kfold(*FEW, held_out=1.5), "`held_out` must be at least 0 and under 1"),
        (lambda: holdout(*FEW, test_fraction=0), "`test_fraction` must be above 0"),
        (lambda: kfold(FEW[0], FEW[1][1:], FEW[2]), r"of one length. Received: \(72, 71, 72\)"),
        (lambda: kfold(["a", "a"], ["CTC", "WBC"]), "Received 'a' twice"),
        (lambda: kfold(["a", "b"], ["CTC", "WBC"], ["P", None]), r"1 of 2 units have no group \(b\)"),
        (lambda: surplus(["a"], ["WBC"], "CTC"), r"`target` must be one of \['WBC'\]"),
        (lambda: surplus(["a"], ["CTC"], "CTC", ratio=0), "`ratio` must be above 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_divided(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.filterwarnings("ignore::ctc_mm.datasets.split_units.LeakWarning")
def test_a_class_with_fewer_members_than_folds():
    ids, strata, _ = units([(2, 30)])
    with pytest.warns(UserWarning, match="'CTC' occurs in 2 units only, so 3 of 5 folds are tested without it; take 2"):
        split = kfold(ids, strata)
    for fold in split.folds:
        assert "CTC" in {strata[ids.index(name)] for name in fold.train}
    with pytest.raises(ConfigError, match="all 1 units of 'CTC' are in one of the units"):
        kfold(*units([(1, 30)])[:2])


def test_surplus_of_the_paper():
    ids, strata, _ = units([(10, 100)])
    out = surplus(ids, strata, "CTC", ratio=2, seed=1)
    assert len(out) == 80
    assert all(name >= "P0_010" for name in out)
    assert (
        out == surplus(ids[::-1], strata[::-1], "CTC", ratio=2, seed=1) != surplus(ids, strata, "CTC", ratio=2, seed=2)
    )
    assert surplus(ids, strata, "CTC", ratio=20) == ()
    with pytest.warns(LeakWarning):
        split = kfold(ids, strata, not_used=out)
    require_whole(split, sorted(set(ids) - set(out)), sorted(set(ids) - set(out)))
    assert split.not_used == out


@pytest.fixture
def split_file(tmp_path):
    ids, strata, groups = units([(3, 9)] * 10)
    split = kfold(ids, strata, groups, folds=3, held_out=0.2, seed=7, group_key="patient", not_used=ids[:0])
    write_split_file(tmp_path / "split.json", split)
    return tmp_path / "split.json", split


def test_a_split_file_comes_back(split_file):
    path, split = split_file
    back = read_split_file(path)
    assert (back.folds, back.held_out, dict(back.group_of)) == (split.folds, split.held_out, dict(split.group_of))
    assert (back.kind, back.seed, back.group_key, back.not_used) == ("kfold", 7, "patient", ())
    assert back.settings == {"folds": 3, "val_fraction": 0.2}
    write_split_file(path.with_name("again.json"), back)
    assert path.with_name("again.json").read_bytes() == path.read_bytes()


def test_an_ungrouped_split_file_comes_back(tmp_path):
    with pytest.warns(LeakWarning):
        split = kfold(*units([(5, 20)])[:2])
    write_split_file(tmp_path / "split.json", split)
    back = read_split_file(tmp_path / "split.json")
    assert back.group_key is None
    assert back.folds == split.folds


def move(content):
    content["folds"][0]["test"].append(content["folds"][0]["train"][0])


def drop(content):
    del content["folds"][1]["val"][0]


def regroup(content):
    content["groups"]["P1"].append(content["groups"]["P0"].pop())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (move, r"folds\[0\]: 'P\d_\d+' stands in two parts"),
        (drop, r"folds\[1\]: 'P\d_\d+' stands in no part of it"),
        (regroup, "do not fit its digest"),
        (lambda content: content.update(format="other"), "is no split file"),
        (lambda content: content.update(folds=[]), "holds no fold"),
        (lambda content: content.pop("held_out"), "lacks the key 'held_out'"),
        (lambda content: content["folds"][0].update(test="P1"), r"folds\[0\]\.test: must be a list"),
    ],
    ids=["two_parts", "no_part", "regrouped", "format", "no_fold", "missing_key", "no_list"],
)
def test_an_edited_split_file_is_refused(split_file, change, message):
    path, _ = split_file
    content = load_json_object(path).value
    change(content)
    write_json(path, content)
    with pytest.raises(AnnotationError, match=rf"split\.json.*{message}"):
        read_split_file(path)


def test_units_that_came_went_or_moved(split_file):
    _, split = split_file
    now = dict(split.group_of)
    split.require_same_units(now, set(now), "cells.csv")
    split.require_same_units(now | {"x": "P1"}, set(now), "cells.csv")  # of another channel: not to be dealt out
    with pytest.raises(AnnotationError, match=r"another table than cells\.csv: of its units 1 are new \(x\)"):
        split.require_same_units(now | {"x": "P1"}, {*now, "x"}, "cells.csv")
    with pytest.raises(AnnotationError, match=r"12 are gone \(P3_000, P3_001, P3_002, P3_003, P3_004, \.\.\.\)"):
        split.require_same_units({k: v for k, v in now.items() if v != "P3"}, set(), "cells.csv")
    with pytest.raises(AnnotationError, match=r"1 moved to another group \(P3_000\)"):
        split.require_same_units(now | {"P3_000": "P4"}, set(now), "cells.csv")


def test_the_numbers_of_the_imfish_paper():
    """694 CTC and 13,472 other nuclei of 40 patients: each fold tests its fifth of the CTCs, within 2 %."""
    rng = np.random.default_rng(0)
    ids = [f"c{number}" for number in range(694 + 13_472)]
    strata = ["CTC"] * 694 + ["non-CTC"] * 13_472
    groups = [f"P{number}" for number in rng.integers(0, 40, len(ids))]
    split = kfold(ids, strata, groups, folds=5)
    rows = part_counts(split, dict(zip(ids, strata, strict=True)))
    tested = [row["CTC"] for row in rows if row["part"] == "test"]
    assert sum(tested) == 694
    assert max(abs(count - 694 / 5) for count in tested) <= 3
