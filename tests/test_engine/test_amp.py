import pytest
import torch
from mmengine.config import Config
from tiny_training import build_runner

from ctc_mm.engine import amp
from ctc_mm.engine.amp import use_amp
from ctc_mm.errors import ConfigError

ADAM = {"type": "Adam", "lr": 0.01}


@pytest.mark.parametrize(
    "before", [{}, {"type": "OptimWrapper"}, {"type": "AmpOptimWrapper", "loss_scale": 512.0, "dtype": "float16"}]
)
def test_on_a_cpu_bfloat16_without_scaling(monkeypatch, before):
    monkeypatch.setattr(amp, "is_cuda_available", lambda: False)
    config = Config(dict(optim_wrapper=dict(before, optimizer=ADAM)))
    use_amp(config)
    assert config.optim_wrapper.to_dict() == {"optimizer": ADAM, "type": "ctc_mm.CPUAmpOptimWrapper"}


def test_on_a_gpu_float16_with_scaling(monkeypatch):
    monkeypatch.setattr(amp, "is_cuda_available", lambda: True)
    config = Config(dict(optim_wrapper=dict(type="OptimWrapper", optimizer=ADAM, clip_grad=dict(max_norm=1.0))))
    use_amp(config)
    assert config.optim_wrapper.type == "AmpOptimWrapper"
    assert config.optim_wrapper.loss_scale == "dynamic"
    assert config.optim_wrapper.clip_grad.max_norm == 1.0


def test_a_wrapper_of_another_kind_stays():
    with pytest.raises(ConfigError, match="--amp takes the place of OptimWrapper.*'ApexOptimWrapper'"):
        use_amp(Config(dict(optim_wrapper=dict(type="ApexOptimWrapper", optimizer=ADAM))))


def test_the_forward_pass_runs_in_bfloat16_and_the_weights_stay_float32(tmp_path):
    runner = build_runner(tmp_path, 1, optim_wrapper={"type": "ctc_mm.CPUAmpOptimWrapper", "optimizer": ADAM})
    kinds = set()
    runner.model.backbone.conv1.register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    before = runner.model.backbone.conv1.weight.detach().clone()
    runner.train()
    assert kinds == {torch.bfloat16}
    assert runner.model.backbone.conv1.weight.dtype == torch.float32
    assert not torch.equal(before, runner.model.backbone.conv1.weight)
