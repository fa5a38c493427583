"""The nucleus network as an ONNX file that OpenCV reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ctc_mm.errors import InstallationError
from ctc_mm.formats.files import atomic_write_bytes
from ctc_mm.models.nuclei_net.network import MAPS, NucleiNet

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 13, 8
# Side of the input that the file declares; OpenCV takes any multiple of 16.
DECLARED_PX = 64


def export_onnx(network: NucleiNet, path: str | Path) -> None:
    """Write a network, batch normalisation folded into the convolutions; the same weights give the same bytes.

    The graph is built node by node: it is a dozen kinds of lines, and torch's own exporter needs packages of its own.

    Raises:
        InstallationError: the package ``onnx`` is missing.
    """
    atomic_write_bytes(path, _Graph(network).model().SerializeToString(deterministic=True))


def folded(block: nn.Sequential) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of one convolution that does what a convolution and its batch normalisation do in evaluation."""
    convolution, norm = block[0], block[1]
    with torch.no_grad():
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = convolution.weight * scale[:, None, None, None]
        bias = norm.bias - norm.running_mean * scale
    return weight.numpy(), bias.numpy()


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise InstallationError(
            "the export to ONNX needs the package onnx: python -m pip install 'ctc_mm[export]'"
        ) from error
    return onnx


class _Graph:
    """Nodes and weights, in the order of ``NucleiNet.forward``; a tensor is its name."""

    def __init__(self, network: NucleiNet) -> None:
        self.onnx = _onnx()
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        x = self._block("image", network.stem)
        skips = []
        for level in network.down:
            x = self._block(x, level)
            skips.append(x)
        for i in reversed(range(len(network.up))):
            raised = self._node("ConvTranspose", [x, *self._of(network.up[i])], **_geometry(network.up[i]))
            x = self._block(self._node("Add", [raised, skips[i]]), network.merge[i])
        self.output = self._node("ConvTranspose", [x, *self._of(network.head)], **_geometry(network.head))

    def model(self) -> onnx.ModelProto:
        """The checked model."""
        helper, float_type = self.onnx.helper, self.onnx.TensorProto.FLOAT
        image = helper.make_tensor_value_info("image", float_type, [1, 2, DECLARED_PX, DECLARED_PX])
        maps = helper.make_tensor_value_info(self.output, float_type, [1, len(MAPS), DECLARED_PX, DECLARED_PX])
        graph = helper.make_graph(self.nodes, "nuclei", [image], [maps], self.weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="ctc_mm"
        )
        self.onnx.checker.check_model(model)
        return model

    def _block(self, x: str, block: nn.Sequential) -> str:
        if not isinstance(block[0], nn.Conv2d):  # blocks in a row
            for part in block:
                x = self._block(x, part)
            return x
        x = self._node("Conv", [x, *map(self._weight, folded(block))], **_geometry(block[0]))
        return self._node("Relu", [x])

    def _of(self, layer: nn.ConvTranspose2d) -> list[str]:
        return [self._weight(layer.weight.detach().numpy()), self._weight(layer.bias.detach().numpy())]

    def _weight(self, values: np.ndarray) -> str:
        name = f"weight_{len(self.weights)}"
        self.weights.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name


def _geometry(layer: nn.Conv2d | nn.ConvTranspose2d) -> dict[str, list[int]]:
    return {
        "kernel_shape": list(layer.kernel_size),
        "strides": list(layer.stride),
        "pads": [*layer.padding, *layer.padding],
    }
