"""Weights fill a model whole, or are refused."""

import pytest
import torch
from torch import nn

from ctc_mm.errors import CheckpointError
from ctc_mm.models.loading import load_all_weights


def model():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "meta": {}}], ids=["bare", "of_mmengine"])
@pytest.mark.parametrize("prefix", ["", "module."], ids=["plain", "saved_under_ddp"])
def test_every_weight_is_taken(wrap, prefix):
    source, target = model(), model()
    source[1].running_mean.fill_(5)
    load_all_weights(target, wrap({prefix + name: value for name, value in source.state_dict().items()}), "w.pth")
    for name, value in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[name], value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pop("1.running_var"), "Missing key.*1.running_var"),
        (lambda s: s.update(other=torch.zeros(1)), "Unexpected key.*other"),
        (lambda s: s.update({"0.weight": torch.zeros(3, 3)}), "size mismatch for 0.weight"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_what_does_not_fit_is_refused(change, reason):
    weights = model().state_dict()
    change(weights)
    with pytest.raises(CheckpointError, match=rf"w\.pth: its weights do not fit the config; give the .*{reason}"):
        load_all_weights(model(), {"state_dict": weights}, "w.pth")
