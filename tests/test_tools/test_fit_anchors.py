import json

from called_tool import call


def test_shapes_of_a_file(repo, tmp_path):
    boxes = [(8, 10), (9, 10), (30, 32), (32, 30)]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 50}],
        "categories": [{"id": 1, "name": "CTC"}],
        "annotations": [
            {"id": index, "image_id": 1, "category_id": 1, "bbox": [1, 2, *size], "area": size[0] * size[1]}
            for index, size in enumerate(boxes, start=1)
        ],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    done = call(
        repo, "fit_anchors", tmp_path / "set.json", "--shapes", 2, "--size", 200, 100, "--out", tmp_path / "a.png"
    )
    assert done.returncode == 0, done.stderr
    assert "4 boxes of 1 images at 200 x 100 px" in done.stdout
    assert "2 shapes: 16 x 20, 60 x 64 px" in done.stdout
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_mistakes_end_with_a_line_that_helps(repo, tmp_path, monkeypatch):
    monkeypatch.chdir(repo)
    (tmp_path / "taken.png").mkdir()
    for words, code, message in (
        (["a.json", "--leaf", "b.py"], 2, "--leaf goes with a config"),
        (["a.py", "--leaf", "configs/../a.py"], 2, "is the config itself, which the leaf inherits from"),
        (["a.py", "--leaf", "a.txt"], 2, "--leaf: takes a name that ends with .py. Received: 'a.txt'"),
        (["a.json", "--out", "a.jpg"], 2, "--out: takes a name that ends with .png. Received: 'a.jpg'"),
        (["a.json", "--shapes", "0"], 2, "--shapes is out of range. Received: 0"),
        ([tmp_path / "no.json"], 1, "no.json"),
        ([tmp_path / "no.json", "--out", tmp_path / "taken.png"], 1, "taken.png: is a folder, where a file"),
        (["configs/lite/compare/rtmdet_tiny_bccd.py"], 1, "has no `anchor_generator` of boxes"),
    ):
        done = call(repo, "fit_anchors", *words)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert message in done.stderr
