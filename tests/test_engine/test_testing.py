import pytest
from mmengine.config import Config

from ctc_mm.engine.compatibility import check_classes
from ctc_mm.errors import CheckpointError

CONFIG = Config(dict(test_dataloader=dict(dataset=dict(metainfo=dict(classes=("CTC", "WBC"))))))


@pytest.mark.parametrize(
    "checkpoint",
    [{}, {"meta": None}, {"meta": {"dataset_meta": {"classes": ["CTC", "WBC"]}}}],
    ids=["nothing_known", "no_meta", "same"],
)
def test_same_or_unknown_classes_pass(checkpoint):
    check_classes(checkpoint, CONFIG, "w.pth")


def test_other_classes_are_refused():
    checkpoint = {"meta": {"dataset_meta": {"classes": ("Platelets", "RBC", "WBC")}}}
    with pytest.raises(
        CheckpointError, match=r"w\.pth: trained for the classes .*'RBC'.* test set has \['CTC', 'WBC'\]"
    ):
        check_classes(checkpoint, CONFIG, "w.pth")
