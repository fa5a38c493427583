import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from tiny_training import TinyBackbone, build_runner, pretrained, save_backbone

from ctc_mm.engine.checkpoint import FORCE_PICKLE, FORCE_WEIGHTS_ONLY, load_checkpoint_safely, use_safe_checkpoints
from ctc_mm.errors import CheckpointError


class MakesFolder:
    """Pickled, it makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def write_reduce_attack(path, proof):
    torch.save({"state_dict": {"w": torch.zeros(1)}, "extra": MakesFolder(proof)}, path)


def write_getattr_attack(path, proof):
    """Reach ``eval`` by nothing but ``getattr`` and a class that may be built, both allowed by MMEngine's loader."""

    def text(value):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()

    get = b"c__builtin__\ngetattr\n"
    builtins = get + get + text("__self__") + b"\x86R"
    evaluate = get + builtins + text("eval") + b"\x86R"
    buffer = b"cmmengine.logging.history_buffer\nHistoryBuffer\n)\x81"
    state = b"}" + text("__setstate__") + evaluate + b"s"
    payload = b"\x80\x02" + buffer + state + b"b" + text(f"__import__('os').mkdir({str(proof)!r})") + b"b."
    written = io.BytesIO()
    torch.save({}, written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, payload if name.endswith("data.pkl") else source.read(name))


ATTACKS = pytest.mark.parametrize("write_attack", [write_reduce_attack, write_getattr_attack])


def load_by_runner(path, tmp_path):
    build_runner(tmp_path / "run").load_checkpoint(str(path))


def load_from(path, tmp_path):
    build_runner(tmp_path / "run", load_from=str(path)).train()


def resume(path, tmp_path):
    build_runner(tmp_path / "run", load_from=str(path), resume=True).train()


def load_as_pretrained(path, tmp_path):
    build_runner(tmp_path / "run", backbone_init=pretrained(path)).train()


def load_by_loader(path, tmp_path):
    CheckpointLoader.load_checkpoint(str(path), "cpu")


def load_by_function(path, tmp_path):
    load_checkpoint_safely(path)


@ATTACKS
@pytest.mark.parametrize(
    "load", [load_by_function, load_by_loader, load_by_runner, load_from, resume, load_as_pretrained]
)
def test_code_in_a_file_does_not_run(tmp_path, write_attack, load):
    path, proof = tmp_path / "evil.pth", tmp_path / "proof"
    write_attack(path, proof)
    use_safe_checkpoints()
    with pytest.raises(CheckpointError, match="--trust-checkpoint"):
        load(path, tmp_path)
    assert not proof.exists()


def test_refusal_says_what_was_found_and_not_how_to_switch_protection_off(tmp_path):
    write_reduce_attack(tmp_path / "evil.pth", tmp_path / "proof")
    with pytest.raises(CheckpointError, match=r"evil\.pth: needs pickle.*\.mkdir") as refusal:
        load_checkpoint_safely(tmp_path / "evil.pth")
    assert "`weights_only`" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_attacks_are_real(tmp_path):
    write_reduce_attack(tmp_path / "a.pth", tmp_path / "a")
    torch.load(tmp_path / "a.pth", weights_only=False)
    write_getattr_attack(tmp_path / "b.pth", tmp_path / "b")
    with torch.serialization.safe_globals([getattr, HistoryBuffer]):
        torch.load(tmp_path / "b.pth", weights_only=True)
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "b").is_dir()


def test_trust_loads_by_pickle_and_takes_the_variable_away(tmp_path):
    write_reduce_attack(tmp_path / "mine.pth", tmp_path / "proof")
    use_safe_checkpoints()
    assert os.environ[FORCE_WEIGHTS_ONLY] == "1"
    use_safe_checkpoints(trust=True)
    assert FORCE_WEIGHTS_ONLY not in os.environ
    assert CheckpointLoader.load_checkpoint(str(tmp_path / "mine.pth"))["state_dict"]["w"].tolist() == [0]
    assert (tmp_path / "proof").is_dir()


def test_trust_against_the_variable_names_the_variable(tmp_path, monkeypatch):
    write_reduce_attack(tmp_path / "mine.pth", tmp_path / "proof")
    monkeypatch.setenv(FORCE_WEIGHTS_ONLY, "1")
    with pytest.raises(CheckpointError, match=f"unset {FORCE_WEIGHTS_ONLY}"):
        load_checkpoint_safely(tmp_path / "mine.pth", trust=True)


def test_safe_loading_wins_over_a_variable_that_forces_pickle(tmp_path, monkeypatch):
    monkeypatch.setenv(FORCE_PICKLE, "1")
    use_safe_checkpoints()
    path = save_backbone(tmp_path / "b.pth")
    assert set(CheckpointLoader.load_checkpoint(path)) == set(TinyBackbone().state_dict())


def test_config_text_in_a_checkpoint_is_not_run_on_resume(tmp_path):
    build_runner(tmp_path / "first", max_epochs=1).train()
    path, proof = tmp_path / "first" / "epoch_1.pth", tmp_path / "proof"
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["meta"]["config"] = f"import os\nos.mkdir({str(proof)!r})"
    torch.save(checkpoint, path)
    use_safe_checkpoints()
    build_runner(tmp_path / "second", max_epochs=2, load_from=str(path), resume=True).train()
    assert not proof.exists()
    assert (tmp_path / "second" / "epoch_2.pth").is_file()


def test_checkpoints_of_the_runner_load_and_resume(tmp_path):
    scores = [np.float64(0.25), np.float64(0.5), np.float64(0.5)]
    checkpoint_hook = {
        "checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "ctc/AP50_CTC", "rule": "greater"}
    }
    use_safe_checkpoints()
    build_runner(tmp_path, max_epochs=2, scores=scores, default_hooks=checkpoint_hook).train()
    last = load_checkpoint_safely(tmp_path / "epoch_2.pth")
    assert last["meta"]["epoch"] == 2
    assert last["message_hub"]["runtime_info"]["best_score"] == 0.5
    losses = last["message_hub"]["log_scalars"]["train/loss"]
    assert type(losses) is HistoryBuffer
    assert len(losses.data[0]) == 8
    assert losses.min() == losses.statistics("min") == losses.data[0].min()
    best = next(tmp_path.glob("best_*epoch_2.pth"))
    assert load_checkpoint_safely(best)["message_hub"]["runtime_info"]["best_score"] == 0.5

    runner = build_runner(tmp_path, max_epochs=3, scores=scores, default_hooks=checkpoint_hook, resume=True)
    runner.train()
    # 4 iterations an epoch; Adam counts on where it was, the schedule too.
    steps = {float(state["step"]) for state in runner.optim_wrapper.optimizer.state.values()}
    assert steps == {12.0}
    assert runner.param_schedulers[0].last_step == 3


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before torch 1.6"])
def test_bare_weights_load_with_equal_values(tmp_path, legacy):
    weights = OrderedDict(a=torch.arange(3.0), b=torch.ones(2, dtype=torch.int64))
    torch.save(weights, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    loaded = load_checkpoint_safely(str(tmp_path / "w.pth"))
    assert loaded["a"].tolist() == [0, 1, 2]
    assert loaded["b"].dtype == torch.int64


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numbers_written_under_either_numpy_load(tmp_path, module):
    torch.save({"w": torch.zeros(1), "n": np.float32(0.5), "a": np.arange(3)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as source, zipfile.ZipFile(tmp_path / "v.pth", "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                data = data.replace(b"numpy._core.multiarray", module.encode())
                data = data.replace(b"numpy.core.multiarray", module.encode())
            target.writestr(name, data)
    loaded = load_checkpoint_safely(tmp_path / "v.pth")
    assert loaded["n"] == np.float32(0.5)
    assert loaded["a"].tolist() == [0, 1, 2]


def write_cut(path, legacy=False):
    torch.save({"a": torch.zeros(4000)}, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[:3000])


BAD_FILES = {
    "missing": (lambda path: None, "no such file"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "picture": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64)), "not a checkpoint"),
    "bare pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "not a checkpoint"),
    "cut zip": (write_cut, "cut short"),
    "cut legacy": (lambda path: write_cut(path, legacy=True), "cut short"),
    "other zip": (lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "a"), "damaged"),
    "whole module": (lambda path: torch.save(torch.nn.Linear(1, 1), path), "--trust-checkpoint"),
    "a tensor": (lambda path: torch.save(torch.zeros(2), path), "weights are a Tensor"),
    "no weights": (lambda path: torch.save({}, path), "found nothing"),
    "nested": (lambda path: torch.save({"model": {"a": torch.zeros(1)}}, path), "found model"),
}


@pytest.mark.parametrize(("write", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_are_refused_with_their_name(tmp_path, write, message):
    path = tmp_path / "bad.pth"
    write(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint_safely(path)
    assert str(path) in str(caught.value)
