import logging
import shutil

import numpy as np
import pytest

from ctc_mm.datasets.cell_meta import CELL_META_KEYS
from ctc_mm.datasets.splits import kfold, write_split_file
from ctc_mm.errors import AnnotationError, ConfigError, ImageReadError
from ctc_mm.formats.cell_set import CellSetWriter
from ctc_mm.imaging.io import write_png

BF = "brightfield"
TWO = [("a", "CTC"), ("b", "WBC")]
LOAD = [{"type": "ctc_mm.LoadCellImage"}, {"type": "PackInputs", "meta_keys": CELL_META_KEYS}]


def cells_of(dataset):
    return [
        (info["cell_id"], info["channel"], info["gt_label"]) for info in map(dataset.get_data_info, range(len(dataset)))
    ]


def edit_table(root, change):
    table = root / "cells.csv"
    table.write_text(change(table.read_text()))


def test_empty_table_is_refused(tmp_path, build_cells):
    with CellSetWriter(tmp_path / "set"):
        pass
    with pytest.raises(AnnotationError, match=r"cells\.csv: lists no cell"):
        build_cells(tmp_path / "set")


def test_class_0_is_the_ctc_and_the_sample_tells_where_it_is_from(write_cells, build_cells):
    cells = [
        {"cell_id": "a", "label": "WBC", "um_per_px": 0.5, "split": "train", "fold": 2, "extra": {"diameter_um": 9.0}},
        {"cell_id": "b", "label": "CTC", "um_per_px": 0.5, "group": "P2", "split": "train", "fold": 0},
    ]
    dataset = build_cells(write_cells(cells), pipeline=LOAD)
    assert [(dataset.get_data_info(i)["cell_id"], dataset.get_data_info(i)["gt_label"]) for i in (0, 1)] == [
        ("a", 1),
        ("b", 0),
    ]
    sample = dataset[0]["data_samples"]
    assert sample.gt_label.tolist() == [1]
    told = {key: sample.get(key) for key in CELL_META_KEYS if key not in ("img_paths", "img_planes")}
    assert told.pop("img_path").endswith("set/train/WBC/a__brightfield.png")
    expected = dict(
        sample_idx=0, ori_shape=(20, 20), img_shape=(20, 20), cell_id="a", channel="brightfield", group="P1",
        source="a.png", box_xyxy=(0.0, 0.0, 20.0, 20.0), um_per_px=0.5, diameter_um=9.0, diameter_px=18.0,
        split="train", fold=2, label="WBC", copy_index=0,
    )  # fmt: skip
    assert told == expected
    assert dataset[1]["data_samples"].get("diameter_um") is None
    assert dataset.metainfo == dict(
        classes=("CTC", "WBC"), target="CTC", channel="brightfield", um_per_px=0.5, white_level=255.0,
        size_source="diameter_um",
    )  # fmt: skip
    assert dataset.get_cat_ids(0) == [1]


def test_what_is_not_used_is_counted(write_cells, build_cells):
    cells = [
        *TWO,
        {"cell_id": "c", "label": "CTC", "keep": False},
        {"cell_id": "d"},
        {"cell_id": "e", "label": "RBC"},
        {"cell_id": "f", "label": "WBC", "split": "test"},
        {"cell_id": "g", "label": "WBC", "fold": 3},
        {"cell_id": "h", "label": "WBC", "channel": "dapi"},
        {"cell_id": "i", "label": "Platelets"},
    ]
    dataset = build_cells(
        write_cells(cells),
        split="all",
        exclude_folds=3,
        channels="brightfield",
        label_map={"RBC": None, "Platelets": "WBC"},
    )
    assert cells_of(dataset) == [("a", "brightfield", 0), ("b", "brightfield", 1), ("i", "brightfield", 1)]
    assert dataset.left_out == {
        "image marked keep = 0": 1,
        "image without a label (unlabelled)": 1,
        "image whose label is mapped to no class": 1,
        "image of another split": 1,
        "image of another fold": 1,
        "image of another channel": 1,
    }
    assert len(dataset) + dataset.left_out.total() == len(cells)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "abcdef"),
        ({"split": "train"}, "abc"),
        ({"split": ["val", "test"]}, "def"),
        ({"folds": 0}, "ad"),
        ({"folds": [0, 1], "split": "train"}, "ab"),
        ({"exclude_folds": [0, 1]}, "cf"),
    ],
    ids=str,
)
def test_splits_and_folds(write_cells, build_cells, options, expected):
    cells = [
        {"cell_id": name, "label": label, "split": split, "fold": fold}
        for name, label, split, fold in zip(
            "abcdef", ["CTC", "WBC"] * 3, ["train"] * 3 + ["val", "test", "test"], [0, 1, 2] * 2, strict=True
        )
    ]
    dataset = build_cells(write_cells(cells), test_mode=True, **options)
    assert "".join(info[0] for info in cells_of(dataset)) == expected


PLANES = ("dapi", "cep8", "cd45")


@pytest.fixture
def channels_set(write_cells):
    """Cell a: bright field and a file of three planes of 10, 20, 30; b: DAPI alone; c: all."""

    def draw(number, fields):
        levels = {"dapi": 10, "cep8": 20, "cd45": 30, "brightfield": 200}
        planes = [np.full((8, 9), levels[name], np.uint8) for name in fields["channel"].split("+")]
        return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)

    cells = [
        ("a", "CTC", "brightfield"),
        ("a", "CTC", "dapi+cep8+cd45"),
        ("b", "WBC", "dapi"),
        ("c", "WBC", "brightfield"),
        ("c", "WBC", "dapi+cep8+cd45"),
    ]
    return write_cells(cells, image=draw)


@pytest.mark.parametrize(
    ("options", "expected", "left_out"),
    [
        ({}, [("a", BF), ("a", "dapi+cep8+cd45"), ("b", "dapi"), ("c", BF), ("c", "dapi+cep8+cd45")], {}),
        ({"channels": "dapi"}, [("a", "dapi"), ("b", "dapi"), ("c", "dapi")], {"image of another channel": 2}),
        ({"channels": ["cd45", "brightfield"]}, [("a", "cd45"), ("a", BF), ("c", "cd45"), ("c", BF)],
         {"image of another channel": 1}),
        ({"channels": ["cd45", BF], "combine": "stack"}, [("a", "cd45+brightfield"), ("c", "cd45+brightfield")],
         {"cell without all of the channels": 1}),
        ({"channels": "cep8+dapi"}, [("a", "cep8+dapi"), ("c", "cep8+dapi")], {"image of another channel": 3}),
    ],
    ids=["all", "a_plane", "samples", "stack", "planes_of_one_file"],
)  # fmt: skip
def test_channels(channels_set, build_cells, options, expected, left_out):
    dataset = build_cells(channels_set, **options)
    assert [(cell, channel) for cell, channel, _ in cells_of(dataset)] == expected
    assert dataset.left_out == left_out


def test_planes_come_in_the_order_asked_for(channels_set, build_cells):
    load = [{"type": "ctc_mm.LoadCellImage", "to_channels": None}]
    stack = build_cells(channels_set, channels=["cd45", "brightfield", "dapi"], combine="stack", pipeline=load)
    assert stack[0]["img"].shape == (8, 9, 3)
    assert stack[0]["img"][4, 4].tolist() == [30, 200, 10]
    assert stack.metainfo["channel"] == "cd45+brightfield+dapi"
    planes = build_cells(channels_set, channels="cep8+dapi", pipeline=load)
    assert planes[0]["img"][0, 0].tolist() == [20, 10]
    assert build_cells(channels_set, channels="dapi", pipeline=load)[1]["img"][..., 0].tolist() == [[10] * 9] * 8


def test_all_labels_that_are_no_class_are_listed(write_cells, build_cells):
    root = write_cells([*TWO, *((f"r{n:02d}", "RBC") for n in range(22)), ("p", "Platelets")])
    with pytest.raises(AnnotationError) as error:
        build_cells(root)
    text = str(error.value)
    assert "The table holds ['CTC', 'Platelets', 'RBC', 'WBC']" in text
    assert "label_map" in text
    assert "): 23\n" in text
    assert text.count("(brightfield): ") == 20
    assert text.endswith("... and 3 more")


def test_all_missing_files_are_listed(write_cells, build_cells):
    root = write_cells([(f"{n:02d}", label) for n, label in enumerate(["CTC", "WBC"] * 15)])
    for path in sorted(root.glob("all/*/*.png"))[:25]:
        path.unlink()
    with pytest.raises(ImageReadError, match=r"images are not on disk.*: 25") as error:
        build_cells(root)
    assert str(error.value).count("__brightfield.png") == 20
    assert "and 5 more" in str(error.value)


def test_a_missing_file_of_another_split_is_no_error(write_cells, build_cells):
    root = write_cells([*TWO, {"cell_id": "c", "label": "WBC", "split": "test"}])
    shutil.rmtree(root / "test")
    assert len(build_cells(root, split="all")) == 2


def test_all_wrong_lines_are_listed(write_cells, build_cells):
    root = write_cells([*TWO, ("c", "WBC")])
    first = (root / "cells.csv").read_text().splitlines()[1]
    edit_table(root, lambda text: text.replace(",b,", ",a,").replace(",c,brightfield", ",c,") + first + "\n")
    with pytest.raises(AnnotationError, match="lines that cannot be used: 3") as error:
        build_cells(root)
    for line, what in ((3, "has channel 'brightfield' twice"), (4, "`channel` must be text"), (5, "twice")):
        assert f"line {line}: " in str(error.value)
        assert what in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"split": "train"},
            r"no cell is left. Asked for: {'split': \('train',\)}.*'splits': \['all'\].*split_cells\.py",
        ),
        ({"channels": ["cep8"]}, r"no cell is left.*'channels': \['brightfield'\].*2}"),
        ({"folds": 1}, "no cell is left.*'folds': \\[\\]"),
        ({"combine": "planes"}, "`combine` must be"),
        ({"combine": "stack"}, "combine='stack' needs `channels`"),
        ({"part": "dev"}, "`part` must be one of train, val, test, held_out"),
        ({"metainfo": {"classes": ()}}, "classes must be distinct names"),
        ({"metainfo": {"classes": ("CTC", "CTC")}}, "classes must be distinct names"),
        ({"metainfo": {"classes": ("CTC", "WBC"), "target": "WBC"}}, "class 0 is the target"),
        ({"metainfo": {"classes": ("CTC", "WBC", "RBC")}}, "no cell of class RBC among the 2 to train on"),
        ({"label_map": {"WBC": "other"}}, r"label_map leads to \['other'\]"),
        ({"size_from": "box"}, "`size_from` must be one of auto, image, auto_or_image"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_arguments_that_do_not_fit(write_cells, build_cells, options, message):
    root = write_cells(TWO)
    with pytest.raises(ConfigError, match=message):
        build_cells(root, **options)


def test_one_class_may_be_absent_where_it_is_tested(write_cells, build_cells):
    root = write_cells([("a", "WBC"), ("b", "WBC")])
    assert [label for _, _, label in cells_of(build_cells(root, test_mode=True))] == [1, 1]


def test_a_folder_that_is_not_there(tmp_path, build_cells):
    with pytest.raises(AnnotationError, match=r"none/cells\.csv: no such table. Make the set with data_converters"):
        build_cells(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnnotationError, match="holds neither cells.csv nor images"):
        build_cells(tmp_path / "empty")
    with pytest.raises(AnnotationError, match=r"other\.csv: no such table of cells; check ann_file"):
        build_cells(tmp_path / "empty", ann_file="other.csv")


@pytest.fixture
def folders(tmp_path, noise_image):
    for number, name in enumerate(["train/CTC/1", "train/WBC/1", "train/WBC/2", "val/WBC/1"]):
        write_png(tmp_path / "folders" / f"{name}.png", noise_image(number))
    return tmp_path / "folders"


def test_folders_without_a_table(folders, build_cells):
    dataset = build_cells(folders, split="train", pipeline=LOAD)
    assert cells_of(dataset) == [
        ("train/CTC/1.png", "image", 0), ("train/WBC/1.png", "image", 1), ("train/WBC/2.png", "image", 1),
    ]  # fmt: skip
    sample = dataset[0]["data_samples"]
    assert (sample.group, sample.box_xyxy, sample.split, sample.label) == (None, None, "train", "CTC")
    assert len(build_cells(folders / "train", ann_file="")) == 3  # <class>/<file>, without a split
    assert len(build_cells(folders, ann_file="")) == 4


def test_folders_that_are_no_class_are_listed(folders, build_cells, noise_image):
    write_png(folders / "train" / "debris" / "9.png", noise_image(9))
    write_png(folders / "stray.png", noise_image(10))
    with pytest.raises(AnnotationError, match=r"belong to no class .*: 2\n") as error:
        build_cells(folders)
    assert "stray.png: lies in no folder" in str(error.value)
    assert "train/debris/9.png: its folder 'debris' is no class" in str(error.value)
    (folders / "stray.png").unlink()
    assert len(build_cells(folders, label_map={"debris": None})) == 4


@pytest.fixture
def split_set(write_cells, tmp_path):
    cells = [
        {
            "cell_id": f"c{n:02d}",
            "label": "CTC" if n % 4 == 0 else "WBC",
            "group": f"P{n % 6}",
            "extra": {"slide": f"S{n % 9}"},
        }
        for n in range(36)
    ]
    root = write_cells(cells)
    ids = [cell["cell_id"] for cell in cells]
    split = kfold(ids, [cell["label"] for cell in cells], [cell["extra"]["slide"] for cell in cells],
                  folds=3, held_out=0.2, group_key="slide")  # fmt: skip
    write_split_file(root / "folds.json", split)
    return root, split


@pytest.mark.parametrize("part", ["train", "val", "test", "held_out"])
def test_parts_of_a_split_file(split_set, build_cells, part):
    root, split = split_set
    dataset = build_cells(root, split_file="folds.json", fold=1, part=part, test_mode=True)
    ids = {cell for cell, _, _ in cells_of(dataset)}
    assert ids == split.ids(1, part)
    assert dataset.left_out == {"image of another part of the split file": 36 - len(ids)}
    assert dataset.get_data_info(0)["split"] == part
    assert dataset.get_data_info(0)["fold"] == 1


def test_a_changed_table_is_noticed(split_set, build_cells):
    root, _ = split_set
    changes = {
        r"1 are gone \(c05\)": (",WBC,c05", ",unlabelled,c05"),
        r"1 are new \(d05\); 1 are gone \(c05\)": (",c05,", ",d05,"),
        r"1 moved to another group \(c05\)": (",S5\nall/WBC/c06", ",S6\nall/WBC/c06"),
    }
    good = (root / "cells.csv").read_text()
    for message, (old, new) in changes.items():
        rows = sorted(good.splitlines()[1:], key=lambda row: row.split(",")[2])
        (root / "cells.csv").write_text("\n".join([good.splitlines()[0], *rows, ""]).replace(old, new))
        with pytest.raises(AnnotationError, match=rf"folds\.json: was made for another table than .*{message}"):
            build_cells(root, split_file="folds.json")
    (root / "cells.csv").write_text(good)
    with pytest.raises(ConfigError, match="has the folds 0 to 2.*Received: fold 3"):
        build_cells(root, split_file=str(root / "folds.json"), fold=3)


def test_groups_in_two_splits_are_warned_of(write_cells, build_cells, monkeypatch):
    rows = [
        ("a", "CTC", "P1", "train"),
        ("b", "WBC", "P2", "train"),
        ("c", "WBC", "P1", "test"),
        ("d", "WBC", "P3", "val"),
    ]
    root = write_cells([dict(zip(("cell_id", "label", "group", "split"), row, strict=True)) for row in rows])
    warned = []
    monkeypatch.setattr(
        "ctc_mm.datasets.single_cell_dataset.print_log",
        lambda text, level=logging.INFO, **_: warned.append(text) if level == logging.WARNING else None,
    )
    build_cells(root, split="train")
    assert len(warned) == 1
    assert "1 groups have cells in several splits (P1 in test and train" in warned[0]
    build_cells(root)  # no split asked for: nothing is torn apart
    assert len(warned) == 1


@pytest.mark.parametrize(
    ("dtype", "top", "level"),
    [(np.uint8, 200, 255.0), (np.uint16, 900, 1023.0), (np.uint16, 3000, 4095.0), (np.uint16, 60000, 65535.0)],
    ids=["8_bit", "10_bit", "12_bit", "16_bit"],
)
def test_white_level_is_that_of_the_set(write_cells, build_cells, noise_image, dtype, top, level):
    """The brightest image is in the test part; training has to know its level all the same."""
    cells = [{"cell_id": name, "label": label, "split": split} for name, label, split in
             [("a", "CTC", "train"), ("b", "WBC", "train"), ("c", "WBC", "test")]]  # fmt: skip
    root = write_cells(cells, image=lambda n, _: noise_image(n, dtype=dtype, top=top if n == 2 else top // 3))
    train, test = (build_cells(root, split=split, test_mode=True, pipeline=LOAD) for split in ("train", "test"))
    assert train.metainfo["white_level"] == test.metainfo["white_level"] == level
    assert float(test[0]["inputs"].max()) == pytest.approx(top * 255 / level, rel=1e-6)
    assert float(train[0]["inputs"].max()) == pytest.approx(top // 3 * 255 / level, rel=1e-6)
    assert build_cells(root, white_level=65535).metainfo["white_level"] == 65535


def test_each_channel_has_its_white_level(write_cells, build_cells, noise_image):
    cells = [("a", "CTC", "brightfield"), ("a", "CTC", "dapi"), ("b", "WBC", "brightfield")]
    kinds = {"brightfield": (np.uint8, 255), "dapi": (np.uint16, 4000)}
    root = write_cells(
        cells,
        image=lambda n, fields: noise_image(n, dtype=kinds[fields["channel"]][0], top=kinds[fields["channel"]][1]),
    )
    assert build_cells(root).metainfo["white_level"] == {"brightfield": 255.0, "dapi": 4095.0}
    assert build_cells(root, channels="brightfield").metainfo["white_level"] == 255.0


def test_8_and_16_bit_versions_are_the_same_cells(write_cells, build_cells, noise_image):
    cells = [("a", "CTC"), ("b", "WBC")]
    kinds = {
        "8": lambda n, _: noise_image(n),
        "16": lambda n, _: noise_image(n).astype(np.uint16) * 257,
        "float": lambda n, _: noise_image(n).astype(np.float32) / np.float32(255),
    }
    images = [
        build_cells(write_cells(cells, name, draw), pipeline=LOAD)[0]["inputs"].numpy() for name, draw in kinds.items()
    ]
    for other in images[1:]:
        np.testing.assert_allclose(other, images[0], atol=1e-4)


def test_float_images_above_1_need_a_white_level(write_cells, build_cells):
    root = write_cells(TWO, image=lambda n, _: np.full((9, 9), 300 + n, np.float32))
    with pytest.raises(ImageReadError, match=r"a__brightfield\.tif: float pixels reach 300; give white_level"):
        build_cells(root)
    assert build_cells(root, white_level=400).metainfo["white_level"] == 400
