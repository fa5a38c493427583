"""From what a config calls its weights (file, URL, ``torchvision://vgg16``) to a local file."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlparse

import torch

from ctc_mm.errors import CheckpointError

DOWNLOAD_TIMEOUT_S = 10.0
# Names of published weights end in a part of their SHA-256; all digits would be a date.
HASH_IN_NAME = re.compile(r"-(?=[0-9]*[a-f])([0-9a-f]{8,64})\.")


def locate_weights(source: str | Path) -> Path:
    """The local file of ``source``, downloaded once into torch's cache (``TORCH_HOME``) where it is not local.

    Args:
        source: a path, ``http(s)://``, ``torchvision://NAME``, ``open-mmlab://NAME`` or ``mmcls://NAME``.

    Raises:
        CheckpointError: no such file, an unknown name or scheme, or a download that failed; the connection is given up
            after 10 s of silence, so that a machine without internet hears of it at once.
    """
    address = weights_address(source)
    if not address.startswith(("http://", "https://")):
        path = Path(address).expanduser()
        if not path.is_file():
            raise CheckpointError(f"{source}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
        return path
    name = Path(urlparse(address).path).name
    if not name:
        raise CheckpointError(f"{source}: the address names no file")
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        _download(address, path)
    return path


def weights_address(source: str | Path) -> str:
    """The URL or path that ``source`` stands for; nothing is opened or downloaded.

    Raises:
        CheckpointError: an unknown name or scheme.
    """
    source = str(source)
    scheme, separator, name = source.rpartition("://")
    if not separator or scheme in ("http", "https"):
        return source
    names = _names_of_scheme(scheme, source)
    if name not in names:
        alike = get_close_matches(name, sorted(names), n=5)
        raise CheckpointError(f"{source}: no weights of this name; alike are: {', '.join(alike) or 'none'}")
    return names[name]


def _names_of_scheme(scheme: str, source: str) -> dict[str, str]:
    from mmengine.runner import checkpoint as mmengine_checkpoint

    if scheme in ("torchvision", "modelzoo"):
        return mmengine_checkpoint.get_torchvision_models()
    if scheme == "mmcls":
        return mmengine_checkpoint.get_mmcls_models()
    if scheme in ("open-mmlab", "openmmlab"):
        home = Path(mmengine_checkpoint._get_mmengine_home())
        urls = mmengine_checkpoint.get_external_models()
        renamed = mmengine_checkpoint.get_deprecated_model_names()
        urls |= {old: urls[new] for old, new in renamed.items() if new in urls}
        return {name: url if "://" in url else str(home / url) for name, url in urls.items()}
    raise CheckpointError(f"{source}: weights cannot be read through {scheme}://; fetch the file and give its path")


def _download(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sha256_prefix = HASH_IN_NAME.search(path.name)
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT_S):
            # It writes beside `path` and renames at the end: a broken download never looks like a whole file.
            torch.hub.download_url_to_file(url, str(path), sha256_prefix and sha256_prefix.group(1))
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{url}: download failed: {error}") from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torch.hub opens its URL without a timeout and would wait for minutes behind a firewall that drops packets."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
