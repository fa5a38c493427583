"""Layers in whole numbers of 8 bits: the one place that calls ONNX Runtime's and OpenVINO's quantisation.

Convolutions and what lies between them are quantised; what comes after the last layer (scores, decoding of boxes, NMS)
stays in float32, since boxes are pixels there.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

ONNX_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
# ConvTranspose has no kernel for 8 bits in ONNX Runtime; statistics (L2 norm, attention's means) lose too much.
ONNX_QUANTISED = ["Conv", "Gemm", "MatMul", "Add", "Clip", "Concat", "MaxPool", "Relu", "Resize"]
OPENVINO_LAYERS = {
    "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul",
}  # fmt: skip

Node = TypeVar("Node")


def quantise_onnx(model: Any, images: np.ndarray, input_name: str) -> Any:
    """Quantise an ONNX model: weights by channel, signed; activations by tensor, unsigned, from least to most seen.

    Args:
        model: ``onnx.ModelProto`` in float32.
        images: float32 (N, C, H, W) to take ranges from.
        input_name: of the model.

    Returns:
        ``onnx.ModelProto``.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as name, _errors_alone():
        plain, folded, quantised = (Path(name) / f"{part}.onnx" for part in ("plain", "folded", "quantised"))
        onnx.save(model, plain)
        quant_pre_process(plain, folded, skip_symbolic_shape=True)
        nodes = onnx.load(folded).graph.node
        kept = _before_layers(nodes, lambda node: node.input, lambda node: node.output, _is_onnx_layer)
        quantize_static(
            folded,
            quantised,
            _Reader(images, input_name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=ONNX_QUANTISED,
            nodes_to_exclude=[node.name for node, is_kept in zip(nodes, kept, strict=True) if not is_kept],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(quantised)


def quantise_openvino(model: Any, images: np.ndarray) -> Any:
    """Quantise an ``openvino.Model`` with NNCF: as :func:`quantise_onnx`, and biases corrected for the rounding."""
    import nncf

    nodes = model.get_ordered_ops()
    kept = _before_layers(
        nodes,
        lambda node: [source.get_source_output().get_node().get_friendly_name() for source in node.inputs()],
        lambda node: [node.get_friendly_name()],
        lambda node: node.get_type_name() in OPENVINO_LAYERS,
    )
    after = [
        node.get_friendly_name()
        for node, is_kept in zip(nodes, kept, strict=True)
        if not is_kept and node.get_type_name() not in ("Constant", "Result")
    ]
    with _errors_alone("nncf"), redirect_stdout(sys.stderr):  # its progress bars
        return nncf.quantize(
            model,
            nncf.Dataset([image[None] for image in images]),
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=after, validate=False),
        )


def _before_layers(
    nodes: Iterable[Node],
    inputs: Callable[[Node], Iterable[str]],
    outputs: Callable[[Node], Iterable[str]],
    is_layer: Callable[[Node], bool],
) -> list[bool]:
    """Which nodes are layers with weights, or lead to one.

    Args:
        nodes: each after those it takes from.
        inputs: names of the values a node takes.
        outputs: names of the values it makes.
        is_layer: whether it is a layer.
    """
    nodes, wanted, kept = list(nodes), set(), []
    for node in reversed(nodes):
        kept.append(is_layer(node) or not wanted.isdisjoint(outputs(node)))
        if kept[-1]:
            wanted.update(inputs(node))
    return kept[::-1]


def _is_onnx_layer(node: Any) -> bool:
    return node.op_type in ONNX_LAYERS


class _Reader:
    """Images one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, images: np.ndarray, input_name: str) -> None:
        self._images: Iterator[np.ndarray] = iter(images)
        self._name = input_name

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next one; None at the end."""
        image = next(self._images, None)
        return None if image is None else {self._name: image[None]}


@contextmanager
def _errors_alone(name: str | None = None) -> Iterator[None]:
    """Without a logger's warnings: of every node that is left in float32, which ONNX Runtime gives the root logger."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
