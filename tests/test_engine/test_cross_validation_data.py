"""What is divided and how: options, cells of a table, images of COCO files, protocols."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from tiny_cells import draw_cells, write_config

from ctc_mm.datasets.split_files import read_split_file, write_split_file
from ctc_mm.engine.cross_validation.options import (
    CrossValidationOptions,
    default_out,
    read_conditions,
    read_holdout,
    read_options,
)
from ctc_mm.engine.cross_validation.protocols import divide, fold_split, whole_test_split
from ctc_mm.engine.cross_validation.sources import source_of
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.errors import AnnotationError, ConfigError, ImageReadError


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"protocol": "bootstrap"}, "--protocol takes one of kfold, leave-one-group-out, holdout, transfer"),
        ({"folds": 1}, r"--folds must be 2 or more.*Received: 1; one split is --protocol holdout"),
        ({"folds": 0}, "--folds must be 2 or more"),
        ({"repeats": 0}, "--repeats must be 1 or more"),
        ({"holdout": 1.0}, "--holdout is a fraction between 0 and 1, such as 0.2. Received: 1.0"),
        ({"holdout": "train"}, "--holdout takes a fraction or the word `test`. Received: 'train'"),
        ({"val_fraction": 0.0}, "--val-fraction is a fraction between 0 and 1"),
        ({"protocol": "transfer"}, "needs one of --test-data FOLDER .* Received: neither"),
        ({"protocol": "transfer", "test_data": "x", "test_where": {"a": ("b",)}}, "Received: both"),
        ({"protocol": "transfer", "test_where": {"a": ("b",)}}, "--test-where needs --train-where"),
        ({"protocol": "transfer", "test_data": "x", "holdout": 0.2}, "--holdout does not go with --protocol transfer"),
        ({"test_data": "x"}, "--test-data and --test-where belong to --protocol transfer"),
        ({"protocol": "leave-one-group-out", "ungrouped": True}, "--ungrouped does not go with"),
    ],
    ids=["protocol", "one_fold", "no_fold", "repeats", "all_held_out", "held_out_what", "no_validation", "transfer_to",
         "transfer_to_both", "transfer_from", "transfer_holdout", "other_set", "loo_ungrouped"],
)  # fmt: skip
def test_options_that_do_not_fit(wrong, message):
    with pytest.raises(ConfigError, match=message):
        CrossValidationOptions(**wrong)


def test_words_of_the_command_line():
    assert read_conditions("--train-where", ["source=a,b", "group=P1"]) == {"source": ("a", "b"), "group": ("P1",)}
    assert read_conditions("--train-where", None) == {}
    for wrong in ("source", "source=", "=a"):
        with pytest.raises(ConfigError, match="--train-where takes COLUMN=VALUE"):
            read_conditions("--train-where", [wrong])
    with pytest.raises(ConfigError, match="named twice; give source=VALUE,VALUE"):
        read_conditions("--train-where", ["source=a", "source=b"])
    assert (read_holdout(None), read_holdout("0.2"), read_holdout("test")) == (None, 0.2, "test")
    args = dict(protocol="kfold", folds=3, group_key="patient", ungrouped=False, val_fraction=0.1, repeats=2, seed=1)
    args |= dict(test_data=None, allow_leaks=True, holdout="0.3", train_where=["source=a"], test_where=None)
    options = read_options(argparse.Namespace(**args))
    assert (options.folds, options.holdout, options.train_where) == (3, 0.3, {"source": ("a",)})
    assert "allow_leaks" not in options.identity  # what leaks decides no fold
    assert default_out("configs/x/light_cells.py", options) == Path("work_dirs/light_cells_kfold")


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return draw_cells(tmp_path_factory.mktemp("cells"), channels=("brightfield", "dapi"))


def cell_config(folder, cells, **options):
    config = load_config(write_config(folder / "tiny.py", cells), options)
    register_all_modules(config.default_scope)
    return config


def parts(fold):
    return [set(fold.ids.part(name)) for name in ("train", "val", "test")]


def test_cells_are_units_with_all_their_channels(cells, tmp_path):
    config = cell_config(tmp_path, cells)
    config.train_dataloader.dataset.channels = ["brightfield", "dapi"]  # tested on bright field alone
    source = source_of(config)
    assert (source.kind, len(source.units), source.aside) == ("cells", 50, frozenset())
    unit = source.units[0]
    assert (unit.id, unit.stratum, len(unit.paths)) == ("test_CTC_000", "CTC", 2)
    assert unit.columns == {"cell_id": "test_CTC_000", "label": "CTC", "group": "test_P0", "source": "test_P0.tif",
                            "split": "test", "diameter_um": "8"}  # fmt: skip
    assert source.counts([unit.id, "val_WBC_000"]) == {"cells": 2, "CTC": 1, "WBC": 1}
    assert source.given_test == {unit.id for unit in source.units if unit.id.startswith("test")}


def test_cells_that_lack_a_channel_are_named_in_the_split_file(cells, tmp_path):
    folder = draw_cells(tmp_path / "cells", channels=("brightfield", "dapi"))
    table = folder / "cells.csv"
    lines = table.read_text().splitlines()
    kept = [line for line in lines if not ("val_WBC_00" in line and "brightfield" in line)]
    table.write_text("\n".join(kept) + "\n")
    config = cell_config(tmp_path, folder)
    source = source_of(config)
    assert source.aside == {f"val_WBC_00{number}" for number in range(6)}
    division = divide(source, CrossValidationOptions(folds=2), 0)
    split = fold_split(division.folds[0], division.group_of, "group")
    assert set(split.not_used) == source.aside
    path = tmp_path / "split.json"
    write_split_file(path, split)
    for part in ("train", "val", "test"):
        source.use(config, part, (), path, tmp_path)
        data = config[f"{part}_dataloader"].dataset
        assert (data.split_file, data.fold, data.part, "split" in data) == (str(path), 0, part, False)
    from ctc_mm.datasets import SingleCellDataset

    options = {
        name: value for name, value in config.test_dataloader.dataset.items() if name not in ("type", "pipeline")
    }
    chosen = SingleCellDataset(**options, pipeline=[])
    found = {chosen.get_data_info(index)["cell_id"] for index in range(len(chosen))}
    assert found == set(division.folds[0].ids.test)
    assert chosen.get_data_info(0)["split"] == "test"


def test_kfold_is_grouped_and_stratified_and_tests_each_cell_once(cells, tmp_path):
    source = source_of(cell_config(tmp_path, cells))
    division = divide(source, CrossValidationOptions(folds=3), training_seed=7)
    assert [fold.seed for fold in division.folds] == [7, 8, 9]
    assert [fold.title for fold in division.folds] == ["fold 0", "fold 1", "fold 2"]
    tested = [name for fold in division.folds for name in fold.ids.test]
    assert sorted(tested) == sorted(unit.id for unit in source.units)
    for fold in division.folds:
        groups = [{division.group_of[name] for name in part} for part in parts(fold)]
        assert all(groups)
        assert not groups[0] & groups[1]
        assert not (groups[0] | groups[1]) & groups[2]
        counts = source.counts(fold.ids.test)
        assert abs(counts["CTC"] - 8) <= 1
        assert abs(counts["WBC"] - 26 / 3) <= 1.5
    again = divide(source, CrossValidationOptions(folds=3), training_seed=7)
    assert again == division
    assert divide(source, CrossValidationOptions(folds=3, seed=1), 7).folds[0].ids != division.folds[0].ids


def test_leaving_one_group_out(cells, tmp_path):
    source = source_of(cell_config(tmp_path, cells))
    division = divide(source, CrossValidationOptions(protocol="leave-one-group-out", group_key="split"), 0)
    assert [fold.title for fold in division.folds] == ["split test", "split train", "split val"]
    assert {name.split("_")[0] for name in division.folds[2].ids.test} == {"val"}
    division = divide(source, CrossValidationOptions(protocol="leave-one-group-out"), 0)
    assert len(division.folds) == 12


def test_holdout_takes_a_fraction_or_the_given_test_set(cells, tmp_path):
    source = source_of(cell_config(tmp_path, cells))
    (fold,) = divide(source, CrossValidationOptions(protocol="holdout"), 0).folds
    assert (fold.name, fold.title) == ("fold_0", "hold-out")
    assert 6 <= len(fold.ids.test) <= 14  # a fifth of 50, whole groups
    (fold,) = divide(source, CrossValidationOptions(protocol="holdout", holdout="test"), 0).folds
    assert set(fold.ids.test) == source.given_test
    *folds, final = divide(source, CrossValidationOptions(folds=2, holdout="test"), 0).folds
    assert (final.name, set(final.ids.test)) == ("final", source.given_test)
    assert all(set(fold.not_used) == source.given_test for fold in folds)


def test_transfer_within_a_table(cells, tmp_path):
    source = source_of(cell_config(tmp_path, cells))
    where = {"train_where": {"split": ("train",)}, "test_where": {"split": ("test",)}}
    (fold,) = divide(source, CrossValidationOptions(protocol="transfer", **where), 0).folds
    assert {name.split("_")[0] for name in (*fold.ids.train, *fold.ids.val)} == {"train"}
    assert set(fold.ids.test) == source.given_test
    assert {name.split("_")[0] for name in fold.not_used} == {"val"}


def test_transfer_to_another_table(cells, tmp_path):
    source = source_of(cell_config(tmp_path, cells))
    other = source_of(cell_config(tmp_path, draw_cells(tmp_path / "other", {"all": (3, 4)}, seed=9)))
    options = CrossValidationOptions(protocol="transfer", test_data=str(tmp_path / "other"))
    (fold,) = divide(source, options, 0, other).folds
    assert set(fold.ids.test) == {unit.id for unit in other.units}
    assert len(fold.ids.train) + len(fold.ids.val) == 50
    here = fold_split(fold, dict.fromkeys((*fold.ids.train, *fold.ids.val), "P"), "group", elsewhere=True)
    assert here.folds[0].test == ()
    path = tmp_path / "test_split.json"
    write_split_file(path, whole_test_split(fold.ids.test, {"left"}, 0))
    assert read_split_file(path).ids(0, "test") == set(fold.ids.test)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 13}, "13 folds need at least 13 groups, and there are 12"),
        ({"group_key": "patient"}, r"no column 'patient' to group by. There are: cell_id, diameter_um, group, label"),
        ({"group_key": "fold"}, "no column 'fold' to group by"),
        ({"train_where": {"clinic": ("A",)}}, r"--train-where clinic=...: .* has no such column. There are: \['cell"),
        ({"train_where": {"split": ("patients",)}}, "--train-where split=patients: .* has none. Its values are: test"),
        ({"train_where": {"split": ("train",), "group": ("val_P0",)}}, "no unit of .* fulfils all of"),
        ({"protocol": "transfer", "train_where": {"split": ("train", "test")}, "test_where": {"split": ("test",)}},
         "--train-where and --test-where overlap: 15 cells fulfil both, such as 'test_CTC_000'"),
        ({"protocol": "transfer", "train_where": {"label": ("CTC",)}, "test_where": {"label": ("WBC",)}},
         "both kept aside and used|none is left to train on|could not be|groups would be"),
    ],
    ids=["folds", "group_key", "empty_column", "column", "value", "no_row", "overlap", "classes"],
)  # fmt: skip
def test_divisions_that_cannot_be(cells, tmp_path, options, message):
    source = source_of(cell_config(tmp_path, cells))
    with pytest.raises(ConfigError, match=message):
        divide(source, CrossValidationOptions(**options), 0)


def test_class_with_too_few_cells(tmp_path):
    cells = draw_cells(tmp_path / "cells", {"all": (1, 20)})
    source = source_of(cell_config(tmp_path, cells, **{"data_root": str(cells)}))
    with pytest.raises(ConfigError, match="all 1 units of 'CTC' are in one of the groups"):
        divide(source, CrossValidationOptions(folds=2), 0)
    cells = draw_cells(tmp_path / "few", {"all": (3, 40)})
    source = source_of(cell_config(tmp_path, cells))
    division = divide(source, CrossValidationOptions(folds=4, ungrouped=True), 0)
    assert any(
        "'CTC' occurs in 3 units only, so 1 of 4 folds are tested without it" in one for one in division.warnings
    )


def test_given_test_set_that_is_none_or_all(cells, tmp_path):
    source = source_of(cell_config(tmp_path, cells))
    with pytest.raises(ConfigError, match="--holdout test keeps .* but that is all of the cells"):
        divide(source, CrossValidationOptions(holdout="test", train_where={"split": ("test",)}), 0)
    with pytest.raises(ConfigError, match="but that is none of the cells"):
        divide(source, CrossValidationOptions(holdout="test", train_where={"split": ("train",)}), 0)


def without(config, *names):
    for name in names:
        config.pop(name)
    return config


def test_configs_that_cannot_be_cross_validated(cells, tmp_path, repo):
    with pytest.raises(ConfigError, match="no `train_cfg` or no `optim_wrapper`: there is nothing to train"):
        source_of(without(cell_config(tmp_path, cells), "train_cfg"))
    with pytest.raises(ConfigError, match="no `val_dataloader.dataset`"):
        source_of(without(cell_config(tmp_path, cells), "val_dataloader"))
    with pytest.raises(AnnotationError, match=r"nowhere.*no such table"):
        source_of(cell_config(tmp_path, cells, data_root="nowhere"))
    with pytest.raises(ConfigError, match="reads fields without labels.*imfish_to_cells.py"):
        source_of(load_config(repo / "configs/lite/ssdlite_cbam_mobilenetv2_imfish.py"))
    mixed = cell_config(tmp_path, cells)
    mixed.test_dataloader.dataset.data_root = "elsewhere"
    with pytest.raises(ConfigError, match="read several tables"):
        source_of(mixed)
    other = cell_config(tmp_path, cells)
    other.val_dataloader.dataset.type = "CIFAR10"
    with pytest.raises(ConfigError, match="divides the data sets SingleCellDataset, CTCDetDataset.*CIFAR10"):
        source_of(other)


def write_coco(path, names, images, boxes=1, classes=("CTC", "WBC"), **info):
    """A COCO file in which image i shows i % 3 target cells and ``boxes`` others."""
    annotations = []
    for number in range(len(names)):
        for label in [1] * (number % 3) + [2] * boxes:
            annotations.append(dict(id=len(annotations) + 1, image_id=10 + number, category_id=label, area=36,
                                    bbox=[4, 4, 6, 6], iscrowd=0))  # fmt: skip
    listed = [dict(id=10 + n, file_name=name, width=32, height=24, group=f"slide{name[-5]}", um_per_px=0.5)
              for n, name in enumerate(names)]  # fmt: skip
    categories = [dict(id=n, name=name) for n, name in enumerate(classes, 1)]
    path.write_text(json.dumps(dict(info=info, images=listed, annotations=annotations, categories=categories)))
    images.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        image = np.random.default_rng([seed, len(name)]).integers(0, 255, (24, 32), np.uint8)
        assert cv2.imwrite(str(images / name), image)


def image_config(root, **test):
    def data(part):
        return dict(type="ctc_mm.CTCDetDataset", data_root=str(root), ann_file=f"{part}.json",
                    data_prefix=dict(img="images/"), metainfo=dict(classes=("CTC", "WBC"), target="CTC"))  # fmt: skip

    loaders = {f"{part}_dataloader": dict(dataset=data(part)) for part in ("val", "test")}
    loaders["test_dataloader"]["dataset"].update(test)
    # The training set may be wrapped.
    train = dict(type="RepeatDataset", times=2, dataset=data("train"))
    return Config(dict(train_cfg=dict(max_epochs=1), optim_wrapper=dict(type="OptimWrapper"),
                       train_dataloader=dict(dataset=train), **loaders))  # fmt: skip


@pytest.fixture
def coco(tmp_path):
    for part, count in (("train", 8), ("val", 3), ("test", 3)):
        write_coco(tmp_path / f"{part}.json", [f"{part}_{n}.png" for n in range(count)], tmp_path / "images")
    return tmp_path


def test_images_of_all_files_are_units(coco):
    source = source_of(image_config(coco))
    assert (source.kind, len(source.units)) == ("images", 14)
    assert [unit.stratum for unit in source.units[:3]] == ["no target", "few targets", "many targets"]
    assert source.units[0].columns["group"] == "slide0"
    assert source.counts(["train_0.png", "train_2.png"]) == {"images": 2, "CTC": 2, "WBC": 2}
    assert source.given_test == {"test_0.png", "test_1.png", "test_2.png"}


def test_fold_of_images_is_a_coco_file_of_its_own(coco, tmp_path):
    from ctc_mm.formats.coco import read_coco

    config = image_config(coco)
    source = source_of(config)
    (fold, _) = divide(source, CrossValidationOptions(folds=2), 0).folds
    for part in ("train", "val", "test"):
        source.use(config, part, fold.ids.part(part), tmp_path / "split.json", tmp_path / "fold_0")
    written = read_coco(tmp_path / "fold_0" / "data" / "train.json")
    assert [image.file_name for image in written.images] == sorted(fold.ids.train)
    assert {image.um_per_px for image in written.images} == {0.5}
    counts = source.counts(fold.ids.train)
    assert sum(cell.label == "CTC" for image in written.images for cell in image.cells) == counts["CTC"]
    inner = config.train_dataloader.dataset.dataset
    assert inner.ann_file == str(tmp_path / "fold_0" / "data" / "train.json")
    assert Path(inner.data_prefix.img) == (coco / "images").resolve()
    # Read back as a config's data: the same units.
    again = source_of(config)
    assert [unit.id for unit in again.units] == [unit.id for unit in source.units]


def test_images_in_folders_of_their_own_keep_distinct_names(coco, tmp_path):
    write_coco(tmp_path / "test.json", ["train_0.png"], tmp_path / "other")
    source = source_of(image_config(coco, data_prefix=dict(img="other/")))
    assert {"images/train_0.png", "other/train_0.png"} <= {unit.id for unit in source.units}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda root: (root / "val.json").unlink(), AnnotationError, r"val.json: no such annotation file"),
        (lambda root: (root / "val.json").write_text("{"), AnnotationError, "val.json"),
        (lambda root: write_coco(root / "val.json", ["train_0.png"], root / "images"), AnnotationError,
         r"val.json: the image train_0.png stands in .*train.json too"),
        (lambda root: write_coco(root / "val.json", ["v_0.png"], root / "images", classes=("WBC", "CTC")),
         AnnotationError, r"its categories are \['WBC', 'CTC'\]"),
        (lambda root: write_coco(root / "val.json", ["v_0.png"], root / "images", crops=dict(gamma=1.5)), ConfigError,
         "crops were made with gamma=1.5, those of the config's other files with None"),
        (lambda root: (root / "images" / "train_3.png").unlink(), ImageReadError, r"1 of 14 images are not on disk"),
    ],
    ids=["missing", "cut_short", "twice", "categories", "gamma", "no_image"],
)  # fmt: skip
def test_coco_files_that_cannot_be_put_together(coco, change, error, message):
    change(coco)
    with pytest.raises(error, match=message):
        source_of(image_config(coco))


def test_joined_detection_sets_are_refused(coco):
    config = image_config(coco)
    inner = config.train_dataloader.dataset.dataset
    config.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[inner, inner])
    with pytest.raises(ConfigError, match="2 detection data sets are joined"):
        source_of(config)
