"""Training of the nucleus network: resumed or not it is the same, it learns, it refuses what does not fit."""

import numpy as np
import pytest
import torch

from ctc_mm.errors import CheckpointError
from ctc_mm.models.nuclei_net import training
from ctc_mm.models.nuclei_net.fields import SOURCES, make_field
from ctc_mm.models.nuclei_net.synthetic import synthetic_fields
from ctc_mm.models.nuclei_net.training import (
    TrainSettings,
    load_trained,
    lr_factor,
    map_loss,
    train,
    training_groups,
)
from ctc_mm.models.nuclei_net.validation import folds_by_image, folds_by_microscope, microscope, scores_by_source

SETTINGS = TrainSettings(steps=6, batch_size=2, patch_px=32, channels=(4, 4, 4, 4))


@pytest.fixture(scope="module")
def groups():
    return [synthetic_fields(3, seed=0)]


def weights_of(network):
    return torch.cat([value.flatten().float() for value in network.state_dict().values()])


def test_resumed_training_is_the_same(groups, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    whole, halted = tmp_path / "whole.pth", tmp_path / "halted.pth"
    losses = dict(train(groups, [1.0], SETTINGS, whole))
    assert list(losses) == list(range(6))
    for step, _ in train(groups, [1.0], SETTINGS, halted):
        if step == 4:  # after the save at 4, so step 4 is done again
            break
    with pytest.raises(CheckpointError, match=r"halted\.pth: stopped at step 4 of 6"):
        load_trained(halted)
    resumed = dict(train(groups, [1.0], SETTINGS, halted))
    assert resumed == {step: losses[step] for step in (4, 5)}
    assert torch.equal(weights_of(load_trained(whole)), weights_of(load_trained(halted)))
    assert not load_trained(whole).training


def test_checkpoint_of_other_settings_is_refused(groups, tmp_path):
    list(train(groups, [1.0], SETTINGS, tmp_path / "a.pth"))
    other = TrainSettings(**{**SETTINGS.__dict__, "seed": 5})
    with pytest.raises(CheckpointError, match=r"a\.pth: made with other settings"):
        next(train(groups, [1.0], other, tmp_path / "a.pth"))


def test_network_learns(groups, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WARM_UP_STEPS", 5)
    settings = TrainSettings(steps=60, batch_size=4, patch_px=48, channels=(8, 8, 8, 8))
    losses = [loss for _, loss in train(groups, [1.0], settings, tmp_path / "a.pth")]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_loss_is_least_for_the_truth():
    targets = torch.zeros(1, 2, 8, 8)
    targets[:, :, 2:6, 2:6] = 1
    logits = (targets - 0.5) * 40
    assert map_loss(logits, targets) < 0.01
    assert map_loss(-logits, targets) > 10
    assert torch.isfinite(map_loss(logits, torch.zeros_like(targets)))


def test_learning_rate_rises_and_falls():
    factors = [lr_factor(step, 1000) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert max(factors) == pytest.approx(factors[training.WARM_UP_STEPS - 1], rel=0.01)
    assert factors[-1] < 1e-4


def field(name, source, shape=(256, 256), background=3.0):
    labels = np.zeros(shape, np.uint16)
    return make_field(name, source, labels.astype(np.float32), labels, labels, background)


def test_sources_share_the_patches(monkeypatch):
    monkeypatch.setattr(training, "SYNTHETIC_FIELDS", 1)
    one = [field("a", SOURCES[1])]
    groups, shares = training_groups(one, seed=0)
    assert [len(group) for group in groups] == [1, 1]
    assert sum(shares) == pytest.approx(1)
    assert shares[0] / shares[1] == pytest.approx(training.SHARES[SOURCES[1]] / training.SHARES["synthetic"])
    with pytest.raises(ValueError, match=r"nuclei_bbbc039.*Received: elsewhere"):
        training_groups([field("a", "elsewhere")], seed=0)


def test_folds_hold_each_field_out_once():
    fields = [field(f"{k}", source) for source in SOURCES for k in range(5)]
    folds = folds_by_image(fields, 3)
    assert [fold.name for fold in folds] == ["fold_0", "fold_1", "fold_2"]
    held_out = [id(one) for fold in folds for one in fold.held_out]
    assert sorted(held_out) == sorted(map(id, fields))
    assert all(len(fold.held_out) + len(fold.training) == len(fields) for fold in folds)
    assert {one.source for one in folds[0].held_out} == set(SOURCES)
    with pytest.raises(ValueError, match="at least 2.*Received: 1"):
        folds_by_image(fields, 1)


def test_kinds_of_fields_are_held_out_together():
    kinds = {
        "bbbc039": field("a", SOURCES[0], (520, 696)),
        "dsb2018_large": field("b", SOURCES[1], (520, 696)),
        "dsb2018_360": field("c", SOURCES[1], (360, 360)),
        "dsb2018_256_bright": field("d", SOURCES[1], background=11.0),
        "dsb2018_256_dark": field("e", SOURCES[1]),
    }
    assert {kind: microscope(one) for kind, one in kinds.items()} == {kind: kind for kind in kinds}
    splits = folds_by_microscope(list(kinds.values()))
    assert {split.name: split.held_out for split in splits} == {kind: (one,) for kind, one in kinds.items()}


def test_no_matches_have_no_scores():
    assert scores_by_source({}) == {}
