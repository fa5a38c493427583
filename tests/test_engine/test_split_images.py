"""Images of a config's set as its model sees them."""

import numpy as np
import pytest
from tiny_fields import draw_fields, write_field_config

from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.engine.split_images import images_of_split
from ctc_mm.errors import ConfigError

CHW = (3, 64, 64)


@pytest.fixture(scope="module")
def config_path(tmp_path_factory):
    root = tmp_path_factory.mktemp("fields")
    return write_field_config(root / "tiny.py", draw_fields(root / "data"))


@pytest.fixture
def config(config_path):
    config = load_config(config_path)
    register_all_modules(config.default_scope)
    return config


def test_training_images_as_a_test_sees_them(config):
    config.train_dataloader.dataset.pipeline.insert(1, dict(type="RandomFlip", prob=1.0))
    dataset = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(type="RepeatDataset", times=3, dataset=dataset)
    found = images_of_split(config, "train", 3, CHW)
    assert (found.shape, found.dtype) == ((3, *CHW), np.float32)
    everything = images_of_split(config, "train", 99, CHW)
    assert len(everything) == 6
    for one, place in zip(found, (0, 2, 5), strict=True):  # 0, 2.5 and 5, rounded to even
        np.testing.assert_array_equal(one, everything[place])
    # The bright CTC lies left of the centre, as drawn: not flipped.
    assert everything[0, 0, :, :32].max() > 200 > everything[0, 0, :, 32:].max()


def test_images_of_every_part_of_a_joined_set(config):
    alone = images_of_split(config, "train", 99, CHW)
    whole = config.train_dataloader.dataset
    parts = [dict(whole, indices=[0, 1]), dict(whole, indices=[4])]
    config.train_dataloader.dataset = dict(type="ConcatDataset", datasets=parts)
    found = images_of_split(config, "train", 99, CHW)
    assert sorted(map(np.ndarray.tobytes, found)) == sorted(alone[place].tobytes() for place in (0, 1, 4))
    assert len(images_of_split(config, "train", 2, CHW)) == 2


@pytest.mark.parametrize(
    ("change", "chw", "message"),
    [
        ({"train_dataloader": None}, CHW, "images of its train set are asked for, and the config names none"),
        ({"train_dataloader.dataset.indices": 0}, CHW, r"its train set '.*set\.json' has no images"),
        ({}, (3, 32, 32), r"become \[\(3, 64, 64\)\] \(C, H, W\), and the file takes \(3, 32, 32\)"),
    ],
)
def test_set_without_images_is_refused(config, change, chw, message):
    config.merge_from_dict(change)
    with pytest.raises(ConfigError, match=message):
        images_of_split(config, "train", 3, chw)


def test_each_split_has_its_own_images(config):
    config.val_dataloader.dataset.indices = [4]
    np.testing.assert_array_equal(images_of_split(config, "val", 9, CHW), images_of_split(config, "train", 9, CHW)[4:5])
