import pytest
from called_tool import call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.py", "a.pth", "--out", "clean.txt"], "--out: takes a name that ends with .json. Received: 'clean.txt'"),
        (["a.py", "--out", "clean.json"], "give CHECKPOINT... or --folds DIR, and not both"),
        (["a.py", "a.pth", "--out", "clean.json", "--split", "test"], "--split: invalid choice: 'test'"),
    ],
    ids=["ending", "no_models", "test_set"],
)
def test_mistakes_end_with_a_line_that_helps(repo, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    done = call(repo, "clean_labels", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_weights_may_stand_behind_options(repo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(repo, "clean_labels", "a.py", "--out", "clean.json", "a.pth", "b.pth")
    assert done.returncode == 1
    assert "a.py: no such config" in done.stderr
