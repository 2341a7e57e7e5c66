"""
What every conversion does to a backbone's graph: find its parts, tidy it, write equal bytes.

A backbone has three parts. The *entry* makes normalised float32 pixels out of uint8 ones, the
*body* holds all weights, the *exit* pools the tapped maps, or turns those that are outputs. Only
the body changes its precision: pixels are subtracted and means are summed up in float32 whatever
the precision is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import onnx

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.onnx_files import strip_notes

__all__ = ['WEIGHTED', 'Parts', 'parse', 'parts_of', 'serialize', 'sort_nodes']

_OLDEST_OPSET = 13
"""First opset whose QuantizeLinear takes a scale per channel."""

WEIGHTED = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul')
"""Operators that hold nearly all of a backbone's weights and nearly all of its time."""

_LEAVING = (
    'Flatten',
    'GlobalAveragePool',
    'Identity',
    'ReduceMean',
    'Reshape',
    'Squeeze',
    'Transpose',
)


@dataclass(frozen=True, eq=False)
class Parts:
    """
    The nodes of a backbone's three parts, each in topological order.

    Parameters
    ----------
    entry, body, exit : list of onnx.NodeProto
        Cast and normalisation; everything with weights; pooling and turning of the tapped maps.

    """

    entry: list[Any]
    body: list[Any]
    exit: list[Any]


def parse(backbone: bytes) -> Any:
    """
    Read a backbone, give every node a name, and store its constants where its weights are.

    Parameters
    ----------
    backbone : bytes
        An ONNX file.

    Returns
    -------
    onnx.ModelProto
        The model, of opset 13 at least.

    Raises
    ------
    TrainingError
        If it is no ONNX file, or one that cannot be brought to opset 13.

    """
    try:
        model = onnx.load_from_string(backbone)
        opset = max(o.version for o in model.opset_import if o.domain in {'', 'ai.onnx'})
        if opset < _OLDEST_OPSET:
            model = onnx.version_converter.convert_version(model, _OLDEST_OPSET)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's, onnx's and Python's own
        msg = (
            f'backbone is no usable ONNX file: expected opset {_OLDEST_OPSET} or higher, '
            f'got {error}; export it again with torch.onnx.export(..., opset_version=18)'
        )
        raise TrainingError(msg) from error
    graph = model.graph
    for node in [node for node in graph.node if node.op_type == 'Constant']:
        if node.attribute[0].name == 'value':
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.node.remove(node)
    taken = {node.name for node in graph.node}
    for k, node in enumerate(graph.node):
        if not node.name:
            node.name = f'{node.op_type}_{k}'
            while node.name in taken:
                node.name += '_'
            taken.add(node.name)
    return model


def parts_of(model: Any) -> Parts:
    """
    Tell entry, body and exit of a backbone apart.

    Parameters
    ----------
    model : onnx.ModelProto
        With one input.

    Returns
    -------
    Parts
        Its nodes.

    """
    graph = model.graph
    nodes = list(graph.node)
    outputs = {output.name for output in graph.output}
    entry, entered = [], set()
    known = {graph.input[0].name, *(tensor.name for tensor in graph.initializer), ''}
    for k, node in enumerate(nodes):
        if (
            node.op_type not in WEIGHTED
            and known.issuperset(node.input)
            and outputs.isdisjoint(node.output)
        ):
            known.update(node.output)
            entry.append(node)
            entered.add(k)
    users: dict[str, list[int]] = {}
    for k, node in enumerate(nodes):
        for name in node.input:
            users.setdefault(name, []).append(k)
    pooled: set[int] = set()
    for k in reversed(range(len(nodes))):
        used_by = [user for name in nodes[k].output for user in users.get(name, [])]
        ends = pooled.issuperset(used_by) and (used_by or outputs & set(nodes[k].output))
        if nodes[k].op_type in _LEAVING and ends and k not in entered:
            pooled.add(k)
    return Parts(
        entry=entry,
        body=[node for k, node in enumerate(nodes) if k not in entered | pooled],
        exit=[node for k, node in enumerate(nodes) if k in pooled],
    )


def sort_nodes(nodes: Iterable[Any], given: Iterable[str]) -> list[Any]:
    """
    Order nodes so that each stands behind those it needs, and otherwise as they came.

    Parameters
    ----------
    nodes : iterable of onnx.NodeProto
        Nodes of one graph.
    given : iterable of str
        Names of inputs and stored tensors.

    Returns
    -------
    list of onnx.NodeProto
        The same nodes.

    Raises
    ------
    TrainingError
        If an input is made by no node.

    """
    ready = {*given, ''}
    waiting, ordered = list(nodes), []
    while waiting:
        held_up = []
        for node in waiting:
            if all(name in ready for name in node.input):
                ordered.append(node)
                ready.update(node.output)
            else:
                held_up.append(node)
        if len(held_up) == len(waiting):
            names = [node.name for node in held_up[:3]]
            msg = f'graph is not connected: inputs of {names} are made by no node'
            raise TrainingError(msg)
        waiting = held_up
    return ordered


def serialize(model: Any) -> bytes:
    """
    Return a checked ONNX file without notes on how it came about; equal models, equal bytes.

    Parameters
    ----------
    model : onnx.ModelProto
        Changed in place.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    TrainingError
        If the model is not valid.

    """
    strip_notes(model)
    used = {node.domain for node in model.graph.node}
    for k in reversed(range(len(model.opset_import))):
        domain = model.opset_import[k].domain
        if domain not in {'', 'ai.onnx'} and domain not in used:
            del model.opset_import[k]
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # it has several, without a common base
        msg = f'converted backbone is not valid: {error}; leave this precision out'
        raise TrainingError(msg) from error
    return bytes(model.SerializeToString(deterministic=True))
