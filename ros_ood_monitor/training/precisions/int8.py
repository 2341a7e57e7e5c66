"""
A backbone with int8 weights and maps: two files, since CPUs and TensorRT want different ones.

``cpu-int8``
    Asymmetric uint8 maps; weights with a scale per channel, of 8 bits where a convolution is
    depthwise and of 7 bits else. CPUs without VNNI add pairs of products in 16 bits; with 7 bits
    that cannot overflow, so that one file gives the same scores on old and on new CPUs.
``trt-int8``
    Everything symmetric and of 8 bits, biases in float32, and no rounding between a convolution
    and its activation, which TensorRT fuses.

In both the first convolution stays in float32 (it sees three channels only and costs little), and
the mean error of every feature over the calibration images is taken off at the exit: a density
tells a constant shift of a feature from noise far better than a classifier does.

References
----------
Jacob et al. (2018), Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, arXiv:1712.05877.
Nagel et al. (2019), Data-Free Quantization Through Weight Equalization and Bias Correction,
arXiv:1906.04721, section 4.2 (bias correction).

"""

from __future__ import annotations

from pathlib import Path
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.training.precisions.graph import parse, Parts, parts_of, serialize, WEIGHTED
from ros_ood_monitor.training.precisions.tools import quantizer, silent

__all__ = ['to_cpu_int8', 'to_trt_int8']

_UNCORRECTED = '_uncorrected'


def to_cpu_int8(backbone: bytes, images: npt.NDArray[np.uint8]) -> bytes:
    """
    Return the backbone as ONNX Runtime computes it fastest on a CPU.

    Parameters
    ----------
    backbone : bytes
        ONNX file in float32.
    images : ndarray of shape (k, h, w, 3), uint8
        In-distribution network inputs.

    Returns
    -------
    bytes
        ONNX file with the same inputs and outputs.

    Raises
    ------
    TrainingError
        If the file is not usable.

    """
    model, parts = _prepared(backbone)
    stored = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    depthwise = [
        node.input[1]
        for node in parts.body
        if node.op_type == 'Conv' and stored.get(node.input[1], [0, 0])[1] == 1
    ]
    quantization = quantizer()
    eight_bits = {
        'quant_type': quantization.QuantType.QInt8,
        'symmetric': True,
        'reduce_range': False,
        'axis': 0,
    }
    quantized = _quantized(
        model,
        parts,
        images,
        activation_type=quantization.QuantType.QUInt8,
        reduce_range=True,
        extra_options={'TensorQuantOverrides': {name: [eight_bits] for name in depthwise}},
    )
    return _corrected(quantized, backbone, images, precision='cpu-int8')


def to_trt_int8(backbone: bytes, images: npt.NDArray[np.uint8]) -> bytes:
    """
    Return the backbone as TensorRT builds it.

    Parameters
    ----------
    backbone : bytes
        ONNX file in float32.
    images : ndarray of shape (k, h, w, 3), uint8
        In-distribution network inputs.

    Returns
    -------
    bytes
        ONNX file with the same inputs and outputs.

    Raises
    ------
    TrainingError
        If the file is not usable.

    """
    model, parts = _prepared(backbone)
    quantized = _quantized(
        model,
        parts,
        images,
        activation_type=quantizer().QuantType.QInt8,
        extra_options={
            'ActivationSymmetric': True,
            'WeightSymmetric': True,
            'QuantizeBias': False,  # TensorRT's parser refuses biases of int32
        },
    )
    _join_activations(quantized)
    return _corrected(quantized, backbone, images, precision='trt-int8')


class _Images:
    """Feeds pictures one by one, as ONNX Runtime's calibration wants them."""

    def __init__(self, name: str, images: npt.NDArray[np.uint8]) -> None:
        self._name = name
        self._waiting = iter(images)

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        image = next(self._waiting, None)  # (h, w, 3)
        return None if image is None else {self._name: image[np.newaxis]}


def _prepared(backbone: bytes) -> tuple[Any, Parts]:
    """Fold what is constant, so that every weight is a stored tensor."""
    with tempfile.TemporaryDirectory(prefix='ood_monitor_int8.') as folder, silent():
        source, target = Path(folder, 'source.onnx'), Path(folder, 'target.onnx')
        source.write_bytes(serialize(parse(backbone)))
        quantizer().quant_pre_process(source, target, skip_symbolic_shape=True)
        model = parse(target.read_bytes())
    return model, parts_of(model)


def _quantized(model: Any, parts: Parts, images: npt.NDArray[np.uint8], **options: Any) -> Any:
    quantization = quantizer()
    first = [node.name for node in parts.body if node.op_type in WEIGHTED][:1]
    with tempfile.TemporaryDirectory(prefix='ood_monitor_int8.') as folder, silent():
        target = Path(folder, 'target.onnx')
        quantization.quantize_static(
            model,
            target,
            _Images(model.graph.input[0].name, images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=[*first, *(node.name for node in (*parts.entry, *parts.exit))],
            **options,
        )
        return onnx.load(target)


def _join_activations(model: Any) -> None:
    """Take out the rounding between a weighted node and the activation behind it."""
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    users: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            users[name] = users.get(name, 0) + 1
    for node in [node for node in graph.node if node.op_type in {'Clip', 'Relu'}]:
        dequantize = made_by.get(node.input[0])
        if dequantize is None or dequantize.op_type != 'DequantizeLinear':
            continue
        quantize = made_by.get(dequantize.input[0])
        if quantize is None or quantize.op_type != 'QuantizeLinear':
            continue
        weighted = made_by.get(quantize.input[0])
        between = (quantize.input[0], quantize.output[0], dequantize.output[0])
        alone = all(users[name] == 1 for name in between)
        if weighted is not None and weighted.op_type in WEIGHTED and alone:
            node.input[0] = quantize.input[0]
            graph.node.remove(dequantize)
            graph.node.remove(quantize)


def _corrected(
    model: Any, backbone: bytes, images: npt.NDArray[np.uint8], *, precision: str
) -> bytes:
    """Add each feature's mean error over the images at the exit, in float32."""
    names = [output.name for output in model.graph.output]
    given = model.graph.input[0].name
    reference = open_session(backbone)
    rounded = open_session(serialize(model), precision=precision)
    error = [np.zeros(1) for _ in names]  # taps x (channels,)
    for image in images:
        feed = {given: image[np.newaxis]}
        pairs = zip(reference.run(names, feed), rounded.run(names, feed), strict=True)
        # the cells of a map share their channels' mean error
        error = [
            total + (wanted[0].astype(np.float64) - got[0]).reshape(-1, got.shape[-1]).mean(axis=0)
            for total, (wanted, got) in zip(error, pairs, strict=True)
        ]
    graph = model.graph
    for name, total in zip(names, error, strict=True):
        for node in graph.node:
            for side in (node.input, node.output):
                side[:] = [each + _UNCORRECTED if each == name else each for each in side]
        offset = (total / len(images)).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(offset, f'{name}_offset'))
        graph.node.append(
            helper.make_node(
                'Add', [name + _UNCORRECTED, f'{name}_offset'], [name], f'{name}_correction'
            )
        )
    return serialize(model)
