import pytest
from mmengine.config import Config

from ctc_mm.engine.compatibility import check_checkpoint, check_images, kind_of_config
from ctc_mm.errors import CheckpointError, ConfigError

SET = dict(dataset=dict(metainfo=dict(classes=("CTC", "WBC"))))
DETECTOR = Config(dict(default_scope="mmdet", test_dataloader=SET))
CLASSIFIER = Config(dict(default_scope="mmpretrain", test_dataloader=SET))
OF_DETECTOR = {"state_dict": {"backbone.conv.weight": 0, "bbox_head.cls_convs.0.weight": 0}}
OF_CLASSIFIER = {"state_dict": {"module.backbone.conv.weight": 0, "module.head.fc.weight": 0}}


def test_the_scope_tells_the_kind():
    assert kind_of_config(DETECTOR) == "detector"
    assert kind_of_config(CLASSIFIER) == "classifier"
    for scope in (None, "mmseg"):
        with pytest.raises(ConfigError, match=f"default_scope must be .* Received: {scope!r}"):
            kind_of_config(Config(dict(default_scope=scope)))


def test_parts_of_a_config_are_refused():
    with pytest.raises(ConfigError, match="the config: no `test_dataloader`, .*; give the whole config"):
        check_checkpoint(OF_DETECTOR, Config(dict(default_scope="mmdet")), "w.pth")


@pytest.mark.parametrize(
    ("checkpoint", "config"),
    [({}, DETECTOR), ({}, CLASSIFIER), (OF_DETECTOR, DETECTOR), (OF_CLASSIFIER, CLASSIFIER),
     ({"backbone.conv.weight": 0}, CLASSIFIER)],
    ids=["nothing", "nothing, cells", "detector", "classifier", "backbone alone"],
)  # fmt: skip
def test_weights_that_may_fit_pass(checkpoint, config):
    check_checkpoint(checkpoint, config, "w.pth")


@pytest.mark.parametrize(
    ("checkpoint", "config", "found", "wanted"),
    [(OF_DETECTOR, CLASSIFIER, "detector", "classifier"), (OF_CLASSIFIER, DETECTOR, "classifier", "detector")],
)
def test_weights_of_the_other_kind_are_refused(checkpoint, config, found, wanted):
    with pytest.raises(CheckpointError, match=rf"w\.pth: holds the weights of a {found}, .* of a {wanted}"):
        check_checkpoint(checkpoint, config, "w.pth")


@pytest.mark.parametrize(
    ("trained", "test"),
    [
        ({}, {}),
        ({"channel": "brightfield", "um_per_px": 0.5}, {}),
        ({"channel": "brightfield"}, {"channel": "brightfield"}),
        ({"channel": ["brightfield", "dapi"]}, {"channel": "brightfield"}),
        ({"channel": "image"}, {"channel": "brightfield"}),
        ({"channel": "brightfield"}, {"channel": "image"}),
        ({"um_per_px": 0.5}, {"um_per_px": 0.545}),
        ({"um_per_px": 0.5}, {"um_per_px": None}),
    ],
    ids=["nothing", "test unknown", "same", "one of two", "unnamed", "unnamed test", "8 % off", "no scale"],
)
def test_images_as_in_training_pass(trained, test):
    check_images(trained, test, "w.pth")


@pytest.mark.parametrize(
    ("trained", "test", "message"),
    [
        (
            {"channel": "brightfield"},
            {"channel": "dapi"},
            "trained on channel brightfield, but the test set shows dapi",
        ),
        ({"channel": "dapi+cep8"}, {"channel": "dapi"}, r"dapi\+cep8, but the test set shows dapi"),
        ({"channel": "dapi"}, {"channel": ["dapi", "cep8"]}, "channel dapi, but the test set shows cep8 and dapi"),
        ({"um_per_px": 0.5}, {"um_per_px": 0.25}, "trained at 0.5 um per px, but the test set has 0.25: .* 2 times"),
        ({"um_per_px": 0.5}, {"um_per_px": 0.56}, "trained at 0.5 um per px, but the test set has 0.56"),
    ],
    ids=["channel", "stack", "one more", "scale", "12 % off"],
)
def test_other_images_are_refused_and_can_be_allowed(trained, test, message, monkeypatch):
    with pytest.raises(CheckpointError, match=rf"w\.pth: .*{message}.*--other-images"):
        check_images(trained, test, "w.pth")
    said = []
    monkeypatch.setattr("ctc_mm.engine.compatibility.print_log", lambda text, **kwargs: said.append(text))
    check_images(trained, test, "w.pth", allow=True)
    assert len(said) == 1
    assert "tested all the same" in said[0]
