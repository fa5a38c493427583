from ctc_mm.engine.work_dir import best_checkpoint


def test_no_folder_and_no_checkpoint(tmp_path):
    assert best_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "epoch_3.pth").touch()
    assert best_checkpoint(tmp_path) is None


def test_latest_best_by_number_not_by_letter(tmp_path):
    for epoch in (2, 9, 10):
        (tmp_path / f"best_ctc_mAP50_epoch_{epoch}.pth").touch()
    assert best_checkpoint(tmp_path).name == "best_ctc_mAP50_epoch_10.pth"
