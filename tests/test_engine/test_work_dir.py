import pytest
import torch

from ctc_mm.engine.work_dir import best_checkpoint, require_last_checkpoint
from ctc_mm.errors import CheckpointError


def test_no_folder_and_no_checkpoint(tmp_path):
    assert best_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "epoch_3.pth").touch()
    assert best_checkpoint(tmp_path) is None


def test_latest_best_by_number_not_by_letter(tmp_path):
    for epoch in (2, 9, 10):
        (tmp_path / f"best_ctc_mAP50_epoch_{epoch}.pth").touch()
    assert best_checkpoint(tmp_path).name == "best_ctc_mAP50_epoch_10.pth"


def test_a_training_by_iterations_has_a_best_too(tmp_path):
    for name in ("best_ctc_balanced_log_loss_iter_900.pth", "best_ctc_balanced_log_loss_iter_1000.pth", "bestiary.pth"):
        (tmp_path / name).touch()
    assert best_checkpoint(tmp_path).name == "best_ctc_balanced_log_loss_iter_1000.pth"


def test_what_an_earlier_training_left_is_not_the_best(tmp_path):
    for epoch in (3, 12):
        (tmp_path / f"best_ctc_AUC_epoch_{epoch}.pth").touch()
    hub = {"runtime_info": {"best_ckpt": "/moved/since/best_ctc_AUC_epoch_3.pth"}}
    torch.save({"state_dict": {"w": torch.zeros(1)}, "message_hub": hub}, tmp_path / "epoch_5.pth")
    (tmp_path / "last_checkpoint").write_text("/moved/since/epoch_5.pth")
    assert best_checkpoint(tmp_path).name == "best_ctc_AUC_epoch_3.pth"
    (tmp_path / "epoch_5.pth").unlink()
    assert best_checkpoint(tmp_path).name == "best_ctc_AUC_epoch_12.pth"


@pytest.mark.parametrize("made", [False, True], ids=["no_folder", "empty_folder"])
def test_nothing_to_resume_from_is_an_error(tmp_path, made):
    folder = tmp_path / "run"
    if made:
        folder.mkdir()
    with pytest.raises(CheckpointError, match=r"run: no checkpoint to resume from .*--work-dir.*without --resume"):
        require_last_checkpoint(folder)


def test_the_last_checkpoint_is_the_one_named(tmp_path):
    for epoch in (1, 2):
        (tmp_path / f"epoch_{epoch}.pth").touch()
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_2.pth"))
    assert require_last_checkpoint(tmp_path) == tmp_path / "epoch_2.pth"
    (tmp_path / "epoch_2.pth").unlink()
    with pytest.raises(CheckpointError, match=r"`last_checkpoint` names .*epoch_2\.pth, which is not there"):
        require_last_checkpoint(tmp_path)
