import hashlib
import socket
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from ctc_mm.engine import weight_sources
from ctc_mm.engine.checkpoint import use_safe_checkpoints
from ctc_mm.engine.weight_sources import locate_weights, weights_address
from ctc_mm.errors import CheckpointError


@pytest.fixture
def website(tmp_path):
    """A folder served on this machine, and the requests it was sent."""
    folder, requests = tmp_path / "website", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            requests.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("weights/vgg.pth", "weights/vgg.pth"),
        ("torchvision://vgg16", "https://download.pytorch.org/models/vgg16-397923af.pth"),
        ("modelzoo://vgg16", "https://download.pytorch.org/models/vgg16-397923af.pth"),
        ("https://a.example/vgg.pth", "https://a.example/vgg.pth"),
    ],
)
def test_addresses(source, address):
    assert weights_address(source) == address


@pytest.mark.parametrize("name", ["open-mmlab://vgg16_caffe", "openmmlab://vgg16_caffe"])
def test_addresses_of_openmmlab(name):
    assert weights_address(name).endswith("vgg16_caffe-292e1171.pth")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("torchvision://vgg61", "no weights of this name; alike are: .*vgg16"),
        ("s3://bucket/vgg.pth", "through s3://; fetch the file and give its path"),
        ("weights/absent.pth", "weights/absent.pth: no such file"),
        (".", "is a folder"),
        ("http://127.0.0.1/", "names no file"),
    ],
)
def test_what_leads_nowhere_is_named(source, message):
    with pytest.raises(CheckpointError, match=message):
        locate_weights(source)


def test_a_download_is_kept_and_not_repeated(website):
    folder, url, requests = website
    torch.save({"a": torch.arange(3)}, folder / "w.pth")
    use_safe_checkpoints()
    for _ in range(2):
        assert CheckpointLoader.load_checkpoint(f"{url}/w.pth")["a"].tolist() == [0, 1, 2]
    assert requests == ["/w.pth"]
    assert locate_weights(f"{url}/w.pth") == Path(torch.hub.get_dir()) / "checkpoints" / "w.pth"


def test_the_hash_in_a_name_is_checked(website):
    folder, url, _ = website
    torch.save({"a": torch.arange(3)}, folder / "w.pth")
    data = (folder / "w.pth").read_bytes()
    right = f"w-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    wrong = "w-0a0a0a0a.pth"
    for name in (right, wrong, "w-20240101.pth"):
        (folder / name).write_bytes(data)
    with pytest.raises(CheckpointError, match="download failed: invalid hash"):
        locate_weights(f"{url}/{wrong}")
    assert not (Path(torch.hub.get_dir()) / "checkpoints" / wrong).exists()
    assert locate_weights(f"{url}/w-20240101.pth").read_bytes() == data
    if not right[2:10].isdigit():
        assert locate_weights(f"{url}/{right}").read_bytes() == data


def test_a_page_that_is_missing(website):
    _, url, _ = website
    with pytest.raises(CheckpointError, match=f"{url}/absent.pth: download failed: HTTP Error 404"):
        locate_weights(f"{url}/absent.pth")


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(weight_sources, "DOWNLOAD_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begin = time.monotonic()
        with pytest.raises(CheckpointError, match="download failed: .*timed out"):
            locate_weights(f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth")
    assert time.monotonic() - begin < 5
    assert socket.getdefaulttimeout() is None
