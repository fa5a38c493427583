"""Labels looked over by models: with a detector whose boxes are known, finds are known to the pixel."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from blob_detector import BlobDetector
from mmdet.registry import DATASETS
from tiny_fields import draw_fields
from tool_runs import run_tool

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test_tools"))
from called_tool import call

from ctc_mm.counting.engines.base import WindowDetections
from ctc_mm.engine.label_cleaning import CleaningOptions, clean_labels
from ctc_mm.engine.label_cleaning.judges import fold_judges, given_judges
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.errors import ConfigError, LeakError
from ctc_mm.formats.coco import read_coco

CONFIG = """
default_scope = 'mmdet'
data_root = {root!r}
pipeline = [
    dict(type='ctc_mm.LoadMicroscopyImage'),
    dict(type='Resize', scale=(96, 128), keep_ratio=False),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
dataset = dict(type='ctc_mm.CTCDetDataset', data_root=data_root, data_prefix=dict(img=''),
               metainfo=dict(classes=('CTC', 'WBC')), pipeline=pipeline)
train_dataloader = dict(batch_size=2, dataset=dict(dataset, ann_file='train.json'))
val_dataloader = dict(batch_size=2, dataset=dict(dataset, ann_file='val.json'))
test_dataloader = dict(batch_size=2, dataset=dict(dataset, ann_file='test.json'))
model = dict(type='BlobDetector', data_preprocessor=dict(type='DetDataPreprocessor'))
"""
CTC_BOX, WBC_BOX = [20, 24, 16, 12], [60, 10, 20, 20]  # x, y, width, height, as draw_fields paints them


@pytest.fixture(scope="module", autouse=True)
def _registered():
    register_all_modules()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six fields: 0 to 3 for training, 4 for validation, 5 for the test.

    Of the training fields, 0 lacks its CTC, 2 both cells, 3 has its WBC as an ignore region; 1 is complete and has
    its CTC twice.
    """
    root = draw_fields(tmp_path_factory.mktemp("labels") / "data")
    whole = json.loads((root / "set.json").read_text())
    left_out = {(0, 1), (2, 1), (2, 2)}
    for part, numbers in {"train": range(4), "val": [4], "test": [5]}.items():
        boxes = [
            dict(one, iscrowd=int((one["image_id"], one["category_id"]) == (3, 2)))
            for one in whole["annotations"]
            if one["image_id"] in numbers and (one["image_id"], one["category_id"]) not in left_out
        ]
        if part == "train":
            boxes.append(dict(boxes[1], id=99))
            boxes.append(dict(boxes[1], id=100, bbox=[5, 5, 0.5, 9], area=4.5))
        images = [image for image in whole["images"] if image["id"] in numbers]
        (root / f"{part}.json").write_text(json.dumps(dict(whole, images=images, annotations=boxes)))
    (root / "config.py").write_text(CONFIG.format(root=str(root)))
    for name, score in (("sure", 0.9), ("unsure", 0.6)):
        meta = dict(dataset_meta=dict(classes=("CTC", "WBC")))
        torch.save(dict(state_dict=BlobDetector(score=score).state_dict(), meta=meta), root / f"{name}.pth")
    return root


@pytest.fixture
def config(root):
    return load_config(root / "config.py")


def judges(config, root, *names):
    return given_judges(config, [root / f"{name}.pth" for name in names])


def window(*boxes, score=0.9, label=0):
    count = len(boxes)
    labels = np.full(count, label, np.int64)
    return WindowDetections(np.array(boxes, np.float32).reshape(-1, 4), np.full(count, score, np.float32), labels)


def test_finds_are_the_cells_left_out(root, config, tmp_path):
    out = tmp_path / "clean.json"
    report = clean_labels(config, judges(config, root, "sure"), out)
    assert [(find.file_name, find.class_name) for find in report.finds] == [
        ("0.png", "CTC"), ("2.png", "WBC"), ("2.png", "CTC"),
    ]  # fmt: skip
    for find in report.finds:
        x, y, width, height = CTC_BOX if find.class_name == "CTC" else WBC_BOX
        np.testing.assert_allclose(find.box_xyxy, [x, y, x + width, y + height], atol=1.0)
        assert find.score == pytest.approx(0.9)
        assert (find.models, find.judges) == (1, 1)
    assert report.finds_by_class == {"CTC": 2, "WBC": 1}
    assert report.seen
    assert report.not_judged == ()
    assert [(one.kind, one.annotation_id) for one in report.problems if one.is_removed] == [
        ("box under 1 px", 100), ("box labelled twice", 99),
    ]  # fmt: skip


def test_written_labels_differ_by_finds_and_removed_boxes_alone(root, config, tmp_path):
    before = json.loads((root / "train.json").read_text())
    clean_labels(config, judges(config, root, "sure"), tmp_path / "clean.json")
    after = json.loads((tmp_path / "clean.json").read_text())
    kept = [one for one in before["annotations"] if one["id"] not in (99, 100)]
    assert after["annotations"][: len(kept)] == kept
    added = after["annotations"][len(kept) :]
    assert [(one["id"], one["image_id"], one["category_id"], one["iscrowd"]) for one in added] == [
        (101, 0, 1, 1), (102, 2, 2, 1), (103, 2, 1, 1),
    ]  # fmt: skip
    assert after["images"] == before["images"]
    digest = hashlib.sha256((root / "train.json").read_bytes()).hexdigest()
    cleaned = {"labels_sha256": digest, "written_as": "ignore", "finds": 3, "boxes_left_out": 2}
    assert after["info"] == {"cleaned": cleaned}
    # Training reads it as ignore regions, counted in no class.
    labelled = read_coco(tmp_path / "clean.json")
    assert [image.num_cells for image in labelled.images] == [1, 2, 0, 1]
    assert sum(cell.is_ignore for image in labelled.images for cell in image.cells) == 4


def test_training_leaves_finds_out(root, config, tmp_path):
    """The data set hands them to the head as ignore regions, also after a random crop."""
    clean_labels(config, judges(config, root, "sure"), tmp_path / "clean.json")
    pipeline = [
        dict(type="ctc_mm.LoadMicroscopyImage"),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="MinIoURandomCrop", min_ious=(0.1, 0.3), min_crop_size=0.7),
        dict(type="PackDetInputs", meta_keys=("img_path", "img_shape")),
    ]
    dataset = dict(config.dataset, ann_file=str(tmp_path / "clean.json"), pipeline=pipeline)
    built = DATASETS.build(dataset)
    for _ in range(5):
        sample = built[2]["data_samples"]
        assert sample.img_path.endswith("2.png")
        assert len(sample.gt_instances) == 0
        ignored = sample.ignored_instances
        assert 1 <= len(ignored) <= 2
        assert all(width <= 21 for width in (ignored.bboxes.tensor[:, 2] - ignored.bboxes.tensor[:, 0]).tolist())
    dataset["pipeline"] = [pipeline[0], pipeline[1], pipeline[3]]
    (find,) = DATASETS.build(dataset)[0]["data_samples"].ignored_instances.bboxes.tensor.tolist()
    x, y, width, height = CTC_BOX
    np.testing.assert_allclose(find, [x, y, x + width, y + height], atol=1.0)


def test_same_labels_and_models_give_the_same_bytes(root, config, tmp_path):
    for name in ("one.json", "other.json"):
        clean_labels(config, judges(config, root, "sure", "unsure"), tmp_path / name)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "other.json").read_bytes()


def test_as_cells(root, config, tmp_path):
    clean_labels(config, judges(config, root, "sure"), tmp_path / "more.json", CleaningOptions(write_as="cell"))
    assert [image.num_cells for image in read_coco(tmp_path / "more.json").images] == [2, 2, 2, 1]


@pytest.mark.parametrize(
    ("score", "agree", "finds"), [(0.5, None, 3), (0.7, 1, 3), (0.7, None, 0), (0.95, 1, 0), (0.5, 2, 3)], ids=str
)
def test_how_sure_and_how_many(root, config, tmp_path, score, agree, finds):
    options = CleaningOptions(score=score, agree=agree)
    report = clean_labels(config, judges(config, root, "sure", "unsure"), tmp_path / "clean.json", options)
    assert len(report.finds) == finds


def test_more_agreement_than_judges_is_told(root, config, tmp_path):
    report = clean_labels(config, judges(config, root, "sure"), tmp_path / "clean.json", CleaningOptions(agree=2))
    assert report.finds == ()
    assert report.not_judged == ("0.png", "1.png", "2.png", "3.png")
    assert "images that too few models judged: 4" in str(report)


def test_validation_can_be_cleaned_and_the_test_set_never(root, config, tmp_path):
    report = clean_labels(config, judges(config, root, "sure"), tmp_path / "val.json", CleaningOptions(split="val"))
    assert (report.images, report.finds, report.problems) == (1, (), ())
    with pytest.raises(ConfigError, match="labels of train or val can be cleaned"):
        CleaningOptions(split="test")
    config.test_dataloader.dataset.ann_file = "train.json"
    with pytest.raises(LeakError, match=r"4 images \(0.png; 1.png; 2.png; 3.png\) of train are in the test set"):
        clean_labels(config, judges(config, root, "sure"), tmp_path / "clean.json")


def test_labels_are_not_overwritten(root, config):
    with pytest.raises(ConfigError, match="would overwrite labels"):
        clean_labels(config, judges(config, root, "sure"), root / "test.json")
    with pytest.raises(ConfigError, match="no model to judge by"):
        clean_labels(config, [], root / "clean.json")


def test_a_model_of_other_classes_is_refused(root, config, tmp_path):
    judge = judges(config, root, "sure")[0]
    other = tmp_path / "other.pth"
    meta = dict(dataset_meta=dict(classes=("RBC", "WBC")))
    torch.save(dict(state_dict=BlobDetector().state_dict(), meta=meta), other)
    with pytest.raises(Exception, match=r"RBC"):
        clean_labels(config, [replace(judge, checkpoint=other)], tmp_path / "clean.json")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(score=0.0), "score and free_iou must be above 0"),
        (dict(agree=0), "agree must be 1 or more"),
        (dict(write_as="truth"), "'ignore' or 'cell'"),
    ],
    ids=["score", "agree", "as"],
)
def test_wrong_options_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        CleaningOptions(**values)


def test_boxes_outside_of_their_image_are_counted_and_no_finds(config, root, tmp_path, monkeypatch):
    found = window([110, 10, 130, 30], [-40, -40, -5, -5], [80, 40, 120, 60])  # fields are 96 x 64 px
    monkeypatch.setattr("ctc_mm.engine.label_cleaning.run.detect", lambda *arguments: found)
    report = clean_labels(config, judges(config, root, "sure"), tmp_path / "clean.json")
    assert (len(report.finds), report.outside) == (4, 8)
    assert report.finds[0].box_xyxy == (80.0, 40.0, 96.0, 60.0)
    assert "boxes of models outside of the image, left out: 8" in str(report)
    assert report.to_json()["boxes_outside_the_image"] == 8


@pytest.fixture
def folds(root, tmp_path):
    """Two folds in the layout of cross-validation: images 0 and 1 are tested by the sure model, 2 by the unsure one."""
    content = json.loads((root / "train.json").read_text())
    for number, (numbers, weights) in enumerate([([0, 1], "sure"), ([2], "unsure")]):
        fold = tmp_path / "folds" / f"fold_{number}"
        (fold / "model").mkdir(parents=True)
        part = dict(content, images=[image for image in content["images"] if image["id"] in numbers])
        (fold / "test.json").write_text(json.dumps(part))
        text = (root / "config.py").read_text().replace("'test.json'", repr(str(fold / "test.json")))
        (fold / "config.py").write_text(text)
        (fold / "model" / "best.pth").write_bytes((root / f"{weights}.pth").read_bytes())
        (fold / "trained.json").write_text(json.dumps(dict(checkpoint="model/best.pth")))
    return tmp_path / "folds"


def test_folds_judge_what_they_never_saw(config, folds, tmp_path):
    report = clean_labels(config, fold_judges(folds), tmp_path / "clean.json")
    assert [(find.file_name, round(find.score, 2)) for find in report.finds] == [
        ("0.png", 0.9), ("2.png", 0.6), ("2.png", 0.6),
    ]  # fmt: skip
    assert report.not_judged == ("3.png",)
    assert not report.seen


def test_folds_that_learned_from_the_test_set_are_refused(config, root, folds, tmp_path):
    path = folds / "fold_1" / "config.py"
    path.write_text(path.read_text().replace("'val.json'", repr(str(root / "test.json"))))
    with pytest.raises(
        LeakError, match=r"fold_1: has learned from 1 images \(5\.png\) of the test set.*--holdout test"
    ):
        clean_labels(config, fold_judges(folds), tmp_path / "clean.json")
    assert not (tmp_path / "clean.json").exists()


def test_folds_that_are_not_there_or_not_trained(folds, tmp_path):
    with pytest.raises(ConfigError, match="holds no fold_"):
        fold_judges(tmp_path / "nowhere")
    (folds / "fold_1" / "trained.json").unlink()
    with pytest.raises(ConfigError, match="fold_1: is not trained"):
        fold_judges(folds)


def test_command_writes_labels_report_picture_and_review(root, tmp_path, capsys):
    out, review = tmp_path / "clean.json", tmp_path / "review"
    run_tool("clean_labels", root / "config.py", root / "sure.pth", "--out", out, "--review", review)
    text = capsys.readouterr().out
    assert "cells that no label marks: 3 (CTC 2, WBC 1) in 2 images" in text
    assert "box labelled twice: 1, left out (1.png annotation 99" in text
    assert "learned what the labels miss" in text
    report = json.loads((tmp_path / "clean_report.json").read_text())
    assert report["finds_by_class"] == {"CTC": 2, "WBC": 1}
    assert [one["file_name"] for one in report["finds"]] == ["0.png", "2.png", "2.png"]
    picture = cv2.imread(str(tmp_path / "clean_finds.png"))[..., ::-1]
    assert (picture == (230, 30, 30)).all(axis=-1).sum() > 500  # the finds' frames
    features = json.loads((review / "0.geojson").read_text())["features"]
    told = {one["properties"]["classification"]["name"]: one["properties"]["metadata"] for one in features}
    assert told["CTC"]["ctc_mm_flags"] == "found_without_label"
    assert told["WBC"]["ctc_mm_flags"] == "labelled"
    assert sorted(path.name for path in review.iterdir()) == [
        *(f"{number}.geojson" for number in range(4)),
        "finds.json",
    ]
    assert [image.num_cells for image in read_coco(review / "finds.json").images] == [1, 2]


def test_what_a_person_left_as_it_was_comes_back_whole(repo, root, tmp_path):
    out, review, back = tmp_path / "clean.json", tmp_path / "review", tmp_path / "back.json"
    run_tool("clean_labels", root / "config.py", root / "sure.pth", "--out", out, "--as", "cell", "--review", review)
    words = [*sorted(review.glob("*.geojson")), "--images", root, "--out", back, "--um-per-px", "1"]
    assert call(repo, "corrections_to_coco", *words, folder="data_converters").returncode == 0
    expected, found = read_coco(out).images, read_coco(back).images
    assert len(found) == 4
    for one, other in zip(expected, found, strict=True):
        assert one.size_wh == other.size_wh
        assert places_in(one) == places_in(other)
    assert any(name == "ignored" for image in found for name, _ in places_in(image))


def places_in(image):
    """Cells and ignore regions; one of all classes is written once for each."""
    return {("ignored" if cell.is_ignore else cell.label, cell.box_xyxy) for cell in image.cells}


def test_command_without_finds_still_draws(root, tmp_path):
    out = tmp_path / "clean.json"
    run_tool("clean_labels", root / "config.py", root / "sure.pth", "--out", out, "--split", "val")
    assert cv2.imread(str(tmp_path / "clean_finds.png")).shape[1] > 100


@pytest.mark.parametrize("words", [[], ["weights.pth", "--folds", "folds"]], ids=["none", "both"])
def test_command_wants_weights_or_folds(root, words):
    with pytest.raises(SystemExit) as error:
        run_tool("clean_labels", root / "config.py", *words, "--out", "x.json")
    assert error.value.code == 2
