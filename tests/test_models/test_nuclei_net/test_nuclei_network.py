"""The nucleus network and its ONNX file: sizes, what OpenCV makes of it, the same bytes, the missing package."""

import sys

import cv2
import numpy as np
import pytest
import torch

from ctc_mm.errors import InstallationError
from ctc_mm.models.nuclei_net.export import export_onnx, folded
from ctc_mm.models.nuclei_net.network import NucleiNet, conv_block


def lively_network(seed=0):
    """A small network whose normalisation is not the identity, in evaluation mode."""
    torch.manual_seed(seed)
    network = NucleiNet((4, 6, 8, 10))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.3, 2.0)
            torch.nn.init.uniform_(module.weight, 0.3, 2.0)
            torch.nn.init.normal_(module.bias)
    return network.eval()


@pytest.mark.parametrize("shape", [(1, 2, 16, 16), (2, 2, 64, 48)])
def test_maps_are_as_large_as_the_image(shape):
    with torch.no_grad():
        assert lively_network()(torch.zeros(shape)).shape == shape


def test_folded_convolution_does_the_same():
    torch.manual_seed(0)
    block = conv_block(3, 5).eval()
    torch.nn.init.normal_(block[1].running_mean)
    torch.nn.init.uniform_(block[1].running_var, 0.3, 2.0)
    weight, bias = map(torch.from_numpy, folded(block))
    image = torch.randn(1, 3, 9, 8)
    with torch.no_grad():
        expected = block[1](block[0](image))
        torch.testing.assert_close(torch.nn.functional.conv2d(image, weight, bias, padding=1), expected)


@pytest.mark.parametrize("size_hw", [(64, 64), (96, 208)])
def test_opencv_computes_what_torch_computes(tmp_path, size_hw):
    pytest.importorskip("onnx", reason="the export needs the extra `export`")
    network = lively_network()
    export_onnx(network, tmp_path / "net.onnx")
    image = np.random.default_rng(0).normal(size=(1, 2, *size_hw)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(image)).numpy()
    read = cv2.dnn.readNetFromONNX(str(tmp_path / "net.onnx"))
    read.setInput(image)
    np.testing.assert_allclose(read.forward(), expected, atol=1e-4 * np.abs(expected).max())


def test_same_weights_give_the_same_bytes(tmp_path):
    pytest.importorskip("onnx", reason="the export needs the extra `export`")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        export_onnx(lively_network(seed), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InstallationError, match=r"onnx: python -m pip install 'ctc_mm\[export\]'"):
        export_onnx(lively_network(), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
