import pytest

from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.errors import ConfigError
from ctc_mm.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    TRANSFORMS,
    VISBACKENDS,
    WEIGHT_INITIALIZERS,
)

CONFIG = "configs/lite/ssdlite_cbam_mobilenetv2_ctc.py"


def datasets(config):
    return [config[f"{name}_dataloader"].dataset for name in ("train", "val", "test")]


def test_without_options_nothing_changes(repo):
    config = load_config(repo / CONFIG)
    assert {dataset.data_root for dataset in datasets(config)} == {"data/ctc/"}
    assert config.work_dir == "work_dirs/ssdlite_cbam_mobilenetv2_ctc"
    assert load_config(repo / CONFIG, work_dir="elsewhere").work_dir == "elsewhere"


def test_data_root_reaches_every_data_set(repo):
    config = load_config(repo / CONFIG, {"data_root": "mine/"})
    assert {dataset.data_root for dataset in datasets(config)} == {"mine/"}


def test_data_root_reaches_wrapped_data_sets(repo, tmp_path):
    leaf = tmp_path / "leaf.py"
    leaf.write_text(
        f"_base_ = {str(repo / CONFIG)!r}\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=2,\n"
        "    dataset=_base_.train_dataloader.dataset))\n"
    )
    config = load_config(leaf, {"data_root": "mine/"})
    assert config.train_dataloader.dataset.dataset.data_root == "mine/"


def test_classes_reach_data_sets_and_head(repo):
    config = load_config(repo / CONFIG, {"classes": ("CTC",)})
    assert [dataset.metainfo for dataset in datasets(config)] == [dict(classes=("CTC",), target="CTC")] * 3
    assert config.model.bbox_head.num_classes == 1
    config = load_config(repo / CONFIG, {"classes": ["RBC", "WBC", "CTC"]})
    assert config.test_dataloader.dataset.metainfo == dict(classes=("RBC", "WBC", "CTC"), target="CTC")
    assert config.model.bbox_head.num_classes == 3
    assert load_config(repo / CONFIG, {"classes": ("RBC", "WBC")}).train_dataloader.dataset.metainfo.target == "RBC"
    for wrong in ("CTC", (), (1, 2)):
        with pytest.raises(ConfigError, match="classes takes names in the order of the label file"):
            load_config(repo / CONFIG, {"classes": wrong})


CELLS = "configs/classification/light_cells.py"


def test_classes_and_channels_reach_a_classifier(repo):
    config = load_config(repo / CELLS, {"classes": ("CTC", "WBC", "debris"), "channels": ["dapi", "cep8"]})
    assert config.model.head.num_classes == 3
    assert [dataset.metainfo.classes for dataset in datasets(config)] == [("CTC", "WBC", "debris")] * 3
    assert [dataset.channels for dataset in datasets(config)] == [["dapi", "cep8"]] * 3


def test_channels_of_their_own_stay(repo, tmp_path):
    leaf = tmp_path / "leaf.py"
    leaf.write_text(
        f"_base_ = {str(repo / CELLS)!r}\ntrain_dataloader = dict(dataset=dict(channels=['brightfield', 'dapi']))\n"
    )
    config = load_config(leaf, {"channels": "phase"})
    assert [dataset.channels for dataset in datasets(config)] == [["brightfield", "dapi"], "phase", "phase"]


def test_classes_reach_the_heads_of_teacher_and_student(repo, tmp_path):
    leaf = tmp_path / "leaf.py"
    leaf.write_text(
        f"_base_ = {str(repo / CELLS)!r}\n"
        "one = dict(head=dict(type='LinearClsHead', num_classes=2), neck=dict(num_classes=7))\n"
        "model = dict(_delete_=True, student=one, teachers=[one, dict(cls_head=dict(num_classes=2))])\n"
    )
    model = load_config(leaf, {"classes": ("CTC", "WBC", "rest")}).model
    assert model.student.head.num_classes == model.teachers[0].head.num_classes == 3
    assert model.teachers[1].cls_head.num_classes == 3
    assert model.student.neck.num_classes == 7


@pytest.mark.parametrize("scope", [None, "mmseg"])
def test_other_scopes_are_refused(scope):
    with pytest.raises(ConfigError, match="default_scope must be mmdet or mmpretrain"):
        register_all_modules(scope)


@pytest.mark.parametrize("key", ["max_epochs", "base_lr", "num_classes", "input_size", "metainfo.target"])
def test_options_without_effect_are_refused(repo, key):
    with pytest.raises(ConfigError, match=rf"--cfg-options {key}: .* changes nothing afterwards"):
        load_config(repo / CONFIG, {key: 1})


def test_data_root_reaches_joined_data_sets(repo, tmp_path):
    leaf = tmp_path / "leaf.py"
    leaf.write_text(
        f"_base_ = {str(repo / CONFIG)!r}\n"
        "part = _base_.train_dataloader.dataset\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=[part, part]))\n"
    )
    config = load_config(leaf, {"data_root": "mine/"})
    assert [dataset.data_root for dataset in config.train_dataloader.dataset.datasets] == ["mine/", "mine/"]


def test_schedule_follows_the_number_of_epochs(repo):
    assert load_config(repo / CONFIG, {"train_cfg.max_epochs": 7}).param_scheduler[1].T_max == 7
    explicit = load_config(repo / CONFIG, {"train_cfg.max_epochs": 7, "param_scheduler.1.T_max": 9})
    assert explicit.param_scheduler[1].T_max == 9


def test_mistakes_are_named(repo, tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.py: no such config"):
        load_config(tmp_path / "nothing.py")
    (tmp_path / "broken.py").write_text("model = dict(\n")
    with pytest.raises(ConfigError, match=r"broken\.py: cannot be read as a config"):
        load_config(tmp_path / "broken.py")
    with pytest.raises(ConfigError, match="--cfg-options modell.x: .* has no `modell`"):
        load_config(repo / CONFIG, {"modell.x": 1})


def test_every_part_is_registered():
    register_all_modules()
    expected = {
        DATA_SAMPLERS: {"DownSampler"},
        DATASETS: {"CTCDetDataset", "ImFISHFieldDataset", "SingleCellDataset", "AugmentToN"},
        TRANSFORMS: {
            "LoadMicroscopyImage", "GammaTransform", "HistogramStretch", "ShiftScaleFlip", "LoadField", "LabelCEP8",
            "LoadCellImage",
            "CellGeometry", "CellIllumination", "CellNoise",
        },
        MODELS: {
            "CBAMNeck", "TransposedConvFusionNeck", "CTCSSDHead", "ImFISHCNN", "PoolFlatten", "CrossModalDistiller",
            "TwinDataPreprocessor", "AlexNet", "BiFPN", "EfficientDetHead",
        },
        WEIGHT_INITIALIZERS: {"PretrainedClassifier", "PretrainedVGG"},
        HOOKS: {
            "FreezeBackboneHook", "DelayedEarlyStoppingHook", "GradCAMHook", "OperatingPointHook", "ProgressHook",
            "DroppedCellsHook", "TSNEHook", "EpochSeedHook", "FinishedEpochHook", "ChannelsLastHook",
            "TrainingCostHook", "EpochEMAHook", "ValidationLossHook",
        },
        METRICS: {"CTCBinaryMetric", "CTCDetMetric", "DetectionRecordMetric"},
        OPTIM_WRAPPERS: {"CPUAmpOptimWrapper"},
        VISBACKENDS: {"MLflowBackend"},
    }  # fmt: skip
    for registry, names in expected.items():
        ours = {name for name, part in registry.module_dict.items() if part.__module__.startswith("ctc_mm.")}
        assert ours == names
