"""The converters as a user calls them: exit codes, help, reports, the same bytes every time."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from ctc_mm.cli import run_cli
from ctc_mm.formats.coco import read_coco
from ctc_mm.imaging.io import write_image

NAMES = ("labelme_to_coco", "voc_to_coco", "raw_to_crops")


@pytest.fixture
def converter(repo):
    def load(name):
        spec = importlib.util.spec_from_file_location(name, repo / "data_converters" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.main

    return load


@pytest.fixture
def lab(tmp_path):
    """Three 12-bit fields of 120 x 90 px: two with cells, one without."""
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for index in range(3):
        write_image(tmp_path / f"images/f{index}.png", rng.integers(0, 4000, (90, 120), dtype=np.uint16))
        starts = rng.integers(0, 70, (10, 2)).tolist() if index else []
        shapes = [
            {"label": ("ctc", "wbc")[k % 2], "points": [[x, y], [x + 9, y + 8]], "shape_type": "rectangle"}
            for k, (x, y) in enumerate(starts)
        ]
        content = {"shapes": shapes, "imagePath": f"..\\images\\f{index}.png", "imageHeight": 90, "imageWidth": 120}
        (tmp_path / f"labels/f{index}.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example_and_runs_without_deep_learning(repo, name):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{name}.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(repo / 'data_converters' / name)!r} + '.py', run_name='__main__')\n"
        "except SystemExit as stop:\n"
        "    heavy = {'torch', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain'} & set(sys.modules)\n"
        "    sys.exit(f'imports {heavy}' if heavy else stop.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"example:\n  python data_converters/{name}.py" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_bad_usage_ends_with_2(converter, name, capsys):
    with pytest.raises(SystemExit) as stop:
        converter(name)([])
    assert stop.value.code == 2
    assert "required" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "labelme_to_coco",
            ["labels", "--out", "x.json", "--labels", "a=CTC,a=WBC"],
            "maps 'a' to both 'CTC' and 'WBC'",
        ),
        ("labelme_to_coco", ["labels", "--out", "x.json", "--um-per-px", "0"], "above 0"),
        ("labelme_to_coco", ["labels", "--out", "x.json", "--group-pattern", "P("], "no regular expression"),
        ("labelme_to_coco", ["labels", "--out", "x.json", "--group-pattern", "P"], "pair of brackets"),
        ("voc_to_coco", ["xml", "--images", "i", "--out", "x.json", "--classes", "A,A"], "distinct names"),
        ("raw_to_crops", ["i", "--boxes", "b", "--out", "o", "--cells", "5", "3"], "MIN <= MAX"),
        ("raw_to_crops", ["i", "--boxes", "b", "--out", "o", "--train", "--paper"], "not allowed with"),
    ],
)
def test_bad_values_end_with_2_and_a_reason(converter, name, arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        converter(name)(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_failure_ends_with_1_and_writes_nothing(converter, lab, capsys):
    broken = lab / "labels/f1.json"
    broken.write_text(broken.read_text()[:-20])
    out = lab / "train.json"
    assert run_cli(converter("labelme_to_coco"), [str(lab / "labels"), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert "error: " in error
    assert "f1.json: not complete JSON" in error
    assert not out.exists()


def test_crops_never_overwrite_the_boxes_they_come_from(converter, tmp_path, capsys):
    boxes = tmp_path / "train.json"
    boxes.write_text("{}")
    with pytest.raises(SystemExit) as stop:
        converter("raw_to_crops")([str(tmp_path), "--boxes", str(boxes), "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "would overwrite" in capsys.readouterr().err
    assert boxes.read_text() == "{}"


def test_from_labels_to_crops(converter, lab, capsys):
    out = lab / "train.json"
    report = converter("labelme_to_coco")(
        [str(lab / "labels"), "--images", str(lab / "images"), "--out", str(out), "--um-per-px", "0.42"]
    )
    assert (report.images, report.images_without_cells, report.cells) == (3, 1, {"CTC": 10, "WBC": 10})
    assert "images kept: 3 (without cells: 1)\ncells kept: 20 (CTC 10, WBC 10)" in capsys.readouterr().out
    entries = json.loads(out.read_text())["images"]
    assert [(entry["file_name"], entry["white_level"], entry["um_per_px"]) for entry in entries] == [
        (f"f{index}.png", 4095, 0.42) for index in range(3)
    ]

    crops = lab / "crops"
    command = [str(lab / "images"), "--boxes", str(out), "--out", str(crops), "--size", "40", "--center", "90"]
    report = converter("raw_to_crops")(command)
    assert report.images == 3 * 4
    labelled = read_coco(crops / "train.json")
    assert {image.group for image in labelled.images} == {"f0", "f1", "f2"}
    assert {image.um_per_px for image in labelled.images} == {0.42}
    assert sum(image.num_cells for image in labelled.images) == report.kept
    assert all((crops / "images" / image.file_name).is_file() for image in labelled.images)
    capsys.readouterr()
    assert converter("raw_to_crops")([*command, "--paper", "--per-image", "7"]).images == 21
    assert "split by `group`" in capsys.readouterr().err


def test_the_same_input_gives_the_same_bytes(converter, lab):
    for run in "ab":
        converter("labelme_to_coco")([str(lab / "labels"), "--out", str(lab / f"boxes_{run}/train.json")])
        boxes = ["--boxes", str(lab / f"boxes_{run}/train.json"), "--out", str(lab / run)]
        converter("raw_to_crops")([str(lab), *boxes, "--size", "40", "--center", "90", "--train", "--per-image", "3"])
    assert (lab / "boxes_a/train.json").read_bytes() == (lab / "boxes_b/train.json").read_bytes()
    first, second = (sorted(path for path in (lab / run).rglob("*") if path.is_file()) for run in "ab")
    assert [path.name for path in first] == [path.name for path in second]
    assert len(first) == 3 * 3 + 1
    for left, right in zip(first, second, strict=True):
        assert left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize(
    ("split", "images", "boxes", "dropped"), [("train", 205, 2804, 1), ("val", 87, 1137, 1), ("test", 72, 945, 0)]
)
def test_real_blood_cells(converter, shared_data, tmp_path, split, images, boxes, dropped):
    bccd = shared_data / "bccd"
    out = tmp_path / f"{split}.json"
    report = converter("voc_to_coco")(
        [
            str(bccd / "Annotations"),
            *("--images", str(bccd / "JPEGImages"), "--out", str(out)),
            *("--split", str(bccd / f"ImageSets/Main/{split}.txt")),
        ]
    )
    assert (report.images, report.kept) == (images, boxes)
    assert report.classes == ("Platelets", "RBC", "WBC")
    assert report.skipped_counts == ({"box without area": dropped} if dropped else {})
    assert len(read_coco(out).images) == images
