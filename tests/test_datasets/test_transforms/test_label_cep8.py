"""Labels of the rule in a pipeline: of the whole field, in pixels of the window, where LoadAnnotations would stand."""

import json
import pickle

import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS

import ctc_mm.datasets  # noqa: F401
from ctc_mm.datasets.transforms import LabelCEP8, LoadField, ShiftScaleFlip
from ctc_mm.errors import AnnotationError, ConfigError
from ctc_mm.imaging.io import open_field, write_ome_tiff
from ctc_mm.imfish import NucleusRecord, classify_field
from ctc_mm.phantoms import IMFISH_CHANNELS, ImFISHPhantomConfig, generate_imfish_field


@pytest.fixture(scope="module")
def phantom():
    config = ImFISHPhantomConfig(image_wh=(640, 512), ctc_count=(6, 6), wbc_count=(14, 14), other_count=(3, 3))
    return generate_imfish_field(config, np.random.default_rng(11))


@pytest.fixture(scope="module")
def path(phantom, tmp_path_factory):
    path = tmp_path_factory.mktemp("slide") / "f.ome.tif"
    write_ome_tiff(path, phantom.image_cyx, IMFISH_CHANNELS, phantom.um_per_px)
    return str(path)


@pytest.fixture(scope="module")
def result(path):
    with open_field(path, dict(dapi=0, cep8=1, cd45=2)) as field:
        return classify_field(field)


@pytest.fixture(scope="module")
def step():
    return TRANSFORMS.build(dict(type="ctc_mm.LabelCEP8"))


def rows_of(results):
    """Box, label, ignored, record of each box."""
    records = results["imfish_records"]
    return list(
        zip(
            results["gt_bboxes"].numpy().tolist(),
            results["gt_bboxes_labels"].tolist(),
            results["gt_ignore_flags"].tolist(),
            [records[index] for index in results["imfish_record_index"].tolist()],
            strict=True,
        )
    )


def test_field_without_a_nucleus_gives_empty_truth(step):
    results = step.transform(dict(img=np.zeros((8, 9, 3), np.uint8)))
    assert results["gt_bboxes"].tensor.shape == (0, 4)
    assert results["gt_bboxes"].tensor.dtype == torch.float32
    assert (results["gt_bboxes_labels"].shape, results["gt_bboxes_labels"].dtype) == ((0,), np.int64)
    assert (results["gt_ignore_flags"].shape, results["gt_ignore_flags"].dtype) == ((0,), bool)
    assert results["imfish_records"] == []
    index = results["imfish_record_index"]
    assert (index.shape, index.dtype) == ((0,), np.int64)
    assert results["cells_before_transforms"] == 0


def test_whole_field_has_the_verdicts_of_the_rule(step, path, result):
    results = step.transform(dict(img_path=path))
    expected = []
    for record in result.records:
        labels = (0, 1) if record.is_rejected else (0,) if record.is_ctc else (1,)
        expected += [(list(record.box_xyxy), label, record.is_rejected, record.to_dict()) for label in labels]
    assert rows_of(results) == expected
    kinds = {(label, ignored) for _, label, ignored, _ in expected}
    assert kinds == {(0, False), (1, False), (0, True), (1, True)}
    assert [NucleusRecord.from_dict(record) for record in results["imfish_records"]] == list(result.records)
    assert results["imfish_record_index"].dtype == np.int64
    assert results["imfish_thresholds"] == result.thresholds.to_dict()
    json.dumps([results["imfish_records"], results["imfish_thresholds"]], allow_nan=False)
    assert results["cells_before_transforms"] == sum(not record.is_rejected for record in result.records)
    assert results["gt_bboxes"].tensor.dtype == torch.float32
    assert "img" not in results


def test_window_has_the_verdicts_of_the_whole_field(step, path, result):
    region = (150, 100, 470, 420)
    results = step.transform(dict(img_path=path, region_xyxy=region))
    shown, cut = {}, 0
    for box, label, ignored, record in rows_of(results):
        whole = np.array(record["box_xyxy"]) - np.tile(region[:2], 2)
        np.testing.assert_array_equal(box, np.clip(whole, 0, 320))
        is_cut = (np.clip(whole, 0, 320) != whole).any()
        cut += is_cut
        assert ignored == (is_cut or NucleusRecord.from_dict(record).is_rejected)
        shown[tuple(record["centroid_yx"])] = record["reason"]
        if not ignored:
            assert label == (0 if record["is_ctc"] else 1)
    inside = {
        record.centroid_yx: record.reason
        for record in result.records
        if record.box_xyxy[0] < 470
        and record.box_xyxy[2] > 150
        and record.box_xyxy[1] < 420
        and record.box_xyxy[3] > 100
    }
    assert shown == inside
    assert [tuple(record["centroid_yx"]) for record in results["imfish_records"]] == list(inside)
    assert cut > 0
    assert results["imfish_thresholds"] == result.thresholds.to_dict()


def test_window_may_reach_beyond_the_field(step, path, result):
    results = step.transform(dict(img_path=path, region_xyxy=(0, 0, 700, 700)))
    assert [record for *_, record in rows_of(results)] == [
        record.to_dict() for record in result.records for _ in range(2 if record.is_rejected else 1)
    ]


def test_core_leaves_a_nucleus_to_one_window(step, path, result):
    left = step.transform(dict(img_path=path, region_xyxy=(0, 0, 400, 512), core_xyxy=(0, 0, 320, 512)))
    right = step.transform(dict(img_path=path, region_xyxy=(240, 0, 640, 512), core_xyxy=(320, 0, 640, 512)))
    counted = [
        tuple(record["centroid_yx"]) for part in (left, right) for *_, ignored, record in rows_of(part) if not ignored
    ]
    assert sorted(counted) == sorted(record.centroid_yx for record in result.records if not record.is_rejected)


@pytest.mark.parametrize("others", ["background", "ignore"])
def test_model_of_one_class_learns_ctcs_alone(others, path, result):
    results = LabelCEP8(others=others).transform(dict(img_path=path))
    rows = rows_of(results)
    assert {label for _, label, _, _ in rows} == {0}
    assert [record["is_ctc"] for *_, ignored, record in rows if not ignored] == [True] * result.ctc_count
    assert results["imfish_records"] == [record.to_dict() for record in result.records]
    others_seen = [one for *_, one in rows if not one["is_ctc"] and not NucleusRecord.from_dict(one).is_rejected]
    assert bool(others_seen) == (others == "ignore")
    assert sum(record.is_rejected for record in result.records) + len(others_seen) == sum(row[2] for row in rows)


def test_paper_mode_needs_no_cd45_and_rejects_nothing(phantom, path):
    step = LabelCEP8(channels=dict(dapi=0, cep8=1), mode="paper")
    results = step.transform(dict(img_path=path))
    assert not results["gt_ignore_flags"].any()
    assert {record["is_ctc"] for record in results["imfish_records"]} == {
        record["cep8_count"] >= 3 for record in results["imfish_records"]
    }
    alone = step.transform(dict(img=phantom.image_cyx[:2], um_per_px=0.25))
    assert rows_of(alone) == rows_of(results)
    with pytest.raises(ValueError, match="no channel cd45"):
        LabelCEP8(channels=dict(dapi=0, cep8=1)).transform(dict(img_path=path))


def test_settings_reach_the_rule(path, result):
    strict = LabelCEP8(settings=dict(min_signals=5, cd45_threshold=1.0)).transform(dict(img_path=path))
    assert strict["imfish_thresholds"]["cd45_threshold"] == 1.0
    assert strict["imfish_thresholds"]["settings"]["min_signals"] == 5
    assert sum(record["is_ctc"] for record in strict["imfish_records"]) < result.ctc_count


def test_arrays_files_and_depths_give_the_same_truth(step, phantom, path, tmp_path):
    wanted = rows_of(step.transform(dict(img_path=path)))
    scale = dict(um_per_px=phantom.um_per_px)
    for image in (phantom.image_cyx, np.moveaxis(phantom.image_cyx, 0, -1), phantom.image_cyx.astype(np.float32)):
        assert rows_of(step.transform(dict(img=image, **scale))) == wanted
    shuffled = LabelCEP8(channels=dict(dapi=2, cep8=0, cd45=1)).transform(
        dict(img=phantom.image_cyx[[1, 2, 0]], **scale)
    )
    assert rows_of(shuffled) == wanted
    paths = {}
    for name in IMFISH_CHANNELS:
        paths[name] = tmp_path / f"{name}.tif"
        write_ome_tiff(paths[name], phantom.channel(name)[None], [name], phantom.um_per_px)
    assert rows_of(step.transform(dict(channel_paths=paths, img_path=str(paths["dapi"])))) == wanted
    low = (phantom.image_cyx // 16).astype(np.uint8)
    eight, sixteen = (step.transform(dict(img=image, **scale)) for image in (low, low.astype(np.uint16) * 257))
    assert [row[:3] for row in rows_of(eight)] == [row[:3] for row in rows_of(sixteen)]


def test_cache_on_disk_changes_nothing_and_serves_the_next_process(step, path, tmp_path, monkeypatch):
    wanted = step.transform(dict(img_path=path))
    cached = LabelCEP8(cache_dir=tmp_path)
    assert rows_of(cached.transform(dict(img_path=path))) == rows_of(wanted)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("ctc_mm.imfish.result_cache.classify_field", None)
    other = LabelCEP8(cache_dir=str(tmp_path)).transform(dict(img_path=path))
    assert rows_of(other) == rows_of(wanted)
    assert other["imfish_thresholds"] == wanted["imfish_thresholds"]
    assert rows_of(pickle.loads(pickle.dumps(cached)).transform(dict(img_path=path))) == rows_of(wanted)
    next(tmp_path.iterdir()).write_text("{")
    with pytest.raises(AnnotationError, match="delete the file"):
        LabelCEP8(cache_dir=tmp_path).transform(dict(img_path=path))


def test_boxes_are_in_the_pixels_that_resize_started_from(step, path):
    window = dict(img_path=path, region_xyxy=(100, 100, 260, 260))
    before = step.transform(LoadField().transform(dict(window)))
    resize = TRANSFORMS.build(dict(type="Resize", scale=(320, 320), keep_ratio=False))
    after = step.transform(resize(LoadField().transform(dict(window))))
    assert after["img"].shape == (320, 320, 3)
    assert rows_of(after) == rows_of(before)
    assert len(rows_of(before)) > 0


@pytest.mark.parametrize(
    "move",
    [
        dict(type="RandomFlip", prob=1.0),
        dict(type="ctc_mm.ShiftScaleFlip", shift_prob=1, scale_prob=0, flip_prob=0, mirror_prob=0),
        dict(type="RandomCrop", crop_size=(300, 300)),
    ],
    ids=lambda move: move["type"],
)
def test_image_that_was_moved_before_is_refused(step, path, move):
    results = TRANSFORMS.build(move)(LoadField().transform(dict(img_path=path)))
    with pytest.raises(ConfigError, match="put LabelCEP8 after ctc_mm.LoadField"):
        step.transform(results)


def test_cells_move_with_the_image_afterwards(step, path):
    results = step.transform(LoadField().transform(dict(img_path=path)))
    before = results["gt_bboxes"].numpy().copy()
    mirrored = ShiftScaleFlip(shift_prob=0, scale_prob=0, flip_prob=0, mirror_prob=1).transform(results)
    np.testing.assert_allclose(mirrored["gt_bboxes"].numpy()[:, [2, 0]], 640 - before[:, [0, 2]])


def test_image_of_another_window_is_refused(step, path):
    results = LoadField().transform(dict(img_path=path, region_xyxy=(0, 0, 320, 300)))
    results["region_xyxy"] = (0, 0, 320, 320)
    with pytest.raises(ConfigError, match=r"\(300, 320\), but the window has \(320, 320\)"):
        step.transform(results)
    with pytest.raises(ConfigError, match="all are missing"):
        step.transform({})
    with pytest.raises(ConfigError, match="stretched or resized already"):
        step.transform(LoadField().transform(dict(img=np.zeros((9, 9, 3), np.uint8))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(others="drop"), "others must be one of label, background, ignore"),
        (dict(settings=dict(min_signal=3)), r"received \['min_signal'\]"),
        (dict(settings=dict(mode="paper")), r"received \['mode'\]"),
        (dict(mode="both"), "`mode` must be one of full, paper"),
        (dict(channels="dapi"), "pairs like dapi=0"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LabelCEP8(**options)


def test_repr_shows_what_was_chosen():
    shown = repr(LabelCEP8(others="ignore", cache_dir="cache"))
    assert "others='ignore'" in shown
    assert "min_signals=3" in shown
