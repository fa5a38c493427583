"""Unlabelled fields as a data set: every nucleus is learned, and in test each counts exactly once."""

from dataclasses import replace

import numpy as np
import pytest
from mmdet.registry import DATASETS

import ctc_mm.datasets
from ctc_mm.datasets.imfish_field_dataset import lay_windows
from ctc_mm.errors import AnnotationError, ConfigError, ImageReadError
from ctc_mm.imaging.io import open_field, write_image
from ctc_mm.imfish import classify_field
from ctc_mm.phantoms import IMFISH_CHANNELS, ImFISHPhantomConfig, write_imfish_fields

PATTERN = "/(P[0-9]+)_"
META_KEYS = (
    "img_id",
    "img_path",
    "ori_shape",
    "img_shape",
    "group",
    "um_per_px",
    "region_xyxy",
    "imfish_records",
    "imfish_record_index",
)
PIPELINE = [
    dict(type="ctc_mm.LoadField"),
    dict(type="ctc_mm.LabelCEP8"),
    dict(type="mmdet.PackDetInputs", meta_keys=META_KEYS),
]
CONFIG = ImFISHPhantomConfig(image_wh=(560, 420), ctc_count=(3, 5), wbc_count=(6, 9), other_count=(1, 2))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Two patients: one with two fields, one with a field smaller than a window."""
    root = tmp_path_factory.mktemp("lab")
    write_imfish_fields(root / "train", {"P1": 2}, CONFIG, seed=3)
    small = replace(CONFIG, image_wh=(200, 420), ctc_count=(1, 1), wbc_count=(2, 2), aggregate_count=(0, 0))
    write_imfish_fields(root / "train", {"P2": 1}, small, seed=4)
    return root


def build(lab, pipeline=PIPELINE, **options):
    options = dict(group_pattern=PATTERN, data_prefix=dict(img="train")) | options
    return DATASETS.build(
        dict(type="ctc_mm.ImFISHFieldDataset", data_root=str(lab), pipeline=list(pipeline), **options)
    )


@pytest.mark.parametrize(
    ("side", "window", "overlap"), [(560, 320, 64), (320, 320, 64), (321, 320, 0), (1, 320, 64), (5000, 320, 319 // 2)]
)
def test_windows_and_their_cores_cover_a_side(side, window, overlap):
    laid = lay_windows(side, window, overlap)
    starts = [start for start, *_ in laid]
    assert starts[0] == 0
    assert starts[-1] == max(side - window, 0)
    assert [low for _, low, _ in laid] == [0, *(high for *_, high in laid[:-1])]  # one core begins where another ends
    assert laid[-1][2] == side
    for (first, low, high), (second, *_) in zip(laid, laid[1:], strict=False):
        assert second - first <= window - overlap
        # A nucleus as wide as the overlap, with its middle in the core, is whole in the window.
        assert first <= max(low - overlap // 2, 0)
        assert high + overlap // 2 <= first + window


def test_fields_become_windows_of_one_size(lab):
    dataset = build(lab)
    assert len(dataset) == 4 + 4 + 2
    regions = [dataset.get_data_info(index)["region_xyxy"] for index in range(len(dataset))]
    assert regions[:4] == [(0, 0, 320, 320), (240, 0, 560, 320), (0, 100, 320, 420), (240, 100, 560, 420)]
    assert regions[8:] == [(0, 0, 320, 320), (0, 100, 320, 420)]
    assert [dataset.get_data_info(index)["group"] for index in (0, 7, 8)] == ["P1", "P1", "P2"]
    assert dataset.metainfo["classes"] == ("CTC", "non-CTC")
    assert dataset.metainfo["target"] == "CTC"
    assert dataset.metainfo["um_per_px"] == 0.25
    assert dataset.metainfo["channels"] == dict(dapi=0, cep8=1, cd45=2)
    for index in (0, 9):
        item = dataset[index]
        assert item["inputs"].shape == (3, 320, 320)
        assert item["data_samples"].metainfo["ori_shape"] == (320, 320)
        assert item["data_samples"].metainfo["img_id"] == index
    # What lies beside the small field is black.
    assert dataset[8]["inputs"][:, :, 200:].max() == 0
    assert dataset[8]["inputs"][:, :, :200].max() == 255


def counted(dataset):
    """Path, middle and label of each nucleus that is truth in a window, with how often."""
    found = {}
    for index in range(len(dataset)):
        sample = dataset[index]["data_samples"]
        records, index = sample.imfish_records, sample.imfish_record_index
        x0, y0, *_ = sample.region_xyxy
        by_box = {}
        for record in records:
            by_box[tuple(np.array(record["box_xyxy"]) - (x0, y0, x0, y0))] = record
        boxes = sample.gt_instances.bboxes.tensor.tolist()
        for box, label in zip(boxes, sample.gt_instances.labels.tolist(), strict=True):
            record = by_box[tuple(box)]
            key = (sample.img_path, tuple(record["centroid_yx"]), label)
            found[key] = found.get(key, 0) + 1
        assert len(boxes) + len(sample.ignored_instances) == len(index)
        assert sorted(set(index.tolist())) == list(range(len(records)))
    return found


def test_every_nucleus_is_learned_and_in_test_counts_once(lab):
    truth = {}
    for path in sorted((lab / "train").rglob("*.tif")):
        with open_field(path, dict(dapi=0, cep8=1, cd45=2)) as field:
            for record in classify_field(field).records:
                if not record.is_rejected:
                    truth[(str(path), record.centroid_yx, 0 if record.is_ctc else 1)] = 1
    assert sum(label == 0 for *_, label in truth) >= 4
    assert counted(build(lab, test_mode=True)) == truth
    training = counted(build(lab))
    assert set(training) == set(truth)
    assert max(training.values()) > 1


def test_a_file_a_channel(lab, tmp_path):
    for path in sorted((lab / "train").rglob("P1*.tif")):
        with open_field(path) as field:
            for name in IMFISH_CHANNELS:
                (tmp_path / "split").mkdir(exist_ok=True)
                write_image(tmp_path / "split" / f"{path.name[:6]}_{name.upper()}.tif", field.read([name])[0])
    write_image(tmp_path / "split" / "P3_f01_DAPI.tif", np.zeros((9, 9), np.uint16))
    channels = {name: f"*_{name.upper()}.tif" for name in IMFISH_CHANNELS}
    dataset = build(
        tmp_path, data_prefix=dict(img="split"), channels=channels, um_per_px=0.25, group_pattern="(P[0-9]+)_"
    )
    whole = build(lab)
    assert len(dataset) == 8  # P3 lacks channels
    for index in range(8):
        one, other = dataset[index], whole[index]
        assert (one["inputs"] == other["inputs"]).all()
        assert one["data_samples"].imfish_records == other["data_samples"].imfish_records
        assert one["data_samples"].group == "P1"
        assert one["data_samples"].img_path.endswith("_DAPI.tif")


def test_data_set_without_a_pattern_groups_by_field(lab):
    dataset = build(lab, group_pattern=None)
    assert [dataset.get_data_info(index)["group"] for index in (0, 4, 8)] == ["P1/P1_f01", "P1/P1_f02", "P2/P2_f01"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(window_px=64, overlap_px=64), ConfigError, "`window_px` must be above `overlap_px`"),
        (dict(metainfo=dict(classes=("non-CTC", "CTC"), target="CTC")), ConfigError, "class 0 is the CTC"),
        (dict(metainfo=dict(classes=("CTC",))), ConfigError, "others='background'"),
        (dict(data_prefix=dict(img="absent")), AnnotationError, "absent is not a folder"),
        (dict(group_pattern="(Q[0-9]+)"), AnnotationError, "finds no group"),
        (dict(channels="dapi=0,cep8=1,cd45=3"), AnnotationError, "3 problems.*has no channel 3"),
        (dict(channels="dapi=*_D.tif,cep8=*_C.tif,cd45=*_W.tif"), ImageReadError, "no field found"),
    ],
)
def test_what_cannot_be_meant_is_refused(lab, options, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        build(lab, **options)


def test_one_class_is_enough_where_the_label_says_so(lab):
    pipeline = [dict(type="ctc_mm.LabelCEP8", others="background")]
    dataset = build(lab, pipeline, metainfo=dict(classes=("CTC",)))
    assert set(dataset[0]["gt_bboxes_labels"]) <= {0}


def test_package_names_it():
    assert ctc_mm.datasets.ImFISHFieldDataset.METAINFO["classes"] == ("CTC", "non-CTC")
