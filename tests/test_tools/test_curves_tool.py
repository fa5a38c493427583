import json

import pytest
from called_tool import call


@pytest.fixture
def work_dir(tmp_path):
    folder = tmp_path / "ssd" / "20260101_000000" / "vis_data"
    folder.mkdir(parents=True)
    lines = [{"loss": 3.0, "epoch": 1, "step": 5}, {"ctc/mAP50": 0.25, "step": 1}]
    (folder / "scalars.json").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "ssd"


def test_picture_and_table(repo, work_dir, tmp_path):
    done = call(repo, "curves", f"mine={work_dir}", "--out", tmp_path / "a.png", "--csv", tmp_path / "a.csv")
    assert done.returncode == 0, done.stderr
    assert "mine: 1 epochs, loss 3.000, best mAP50 0.250 after epoch 1" in done.stdout.splitlines()
    assert (tmp_path / "a.csv").read_text() == (
        "model,run,name,epoch,value\nmine,,ctc/mAP50,1,0.25\nmine,,loss,1,3.0\n"
    )
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_mistakes_end_with_a_line_that_helps(repo, work_dir, tmp_path):
    (work_dir / "20260101_000000.png").write_text("no folder")
    for words, code, message in (
        ([work_dir], 2, "required: --out"),
        ([work_dir, "--out", tmp_path / "a.pdf"], 2, "--out: takes a name that ends with .png. Received: "),
        ([work_dir, "--out", tmp_path / "a.png", "--csv", tmp_path / "a.png"], 2, "--csv: takes a name that ends"),
        ([tmp_path / "none", "--out", tmp_path / "a.png"], 1, "none: no such folder"),
        ([work_dir, "--out", tmp_path / "a.png", "--names", "ctc/F1"], 1, "no training has a curve ctc/F1"),
        ([tmp_path / "none", "--out", work_dir / "20260101_000000.png" / "a.png"], 1, "cannot be written"),
    ):
        done = call(repo, "curves", *words)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert message in done.stderr
    assert not list(tmp_path.glob("a.*"))
