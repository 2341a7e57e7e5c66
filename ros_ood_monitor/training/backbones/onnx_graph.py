"""Graph surgery: preprocessing in front of an ONNX network, mean pooling behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ros_ood_monitor.training.backbones.onnx_nodes import OnnxNodes, opset_of

__all__ = ['Pool', 'Preparation', 'wrap']

_IMAGE, _INNER = 'image', 'network/'
_BEFORE, _BEHIND = 'prepare/', 'pool/'


@dataclass(frozen=True)
class Preparation:
    """
    What a network expects of its input.

    Parameters
    ----------
    mean, std : tuple of float
        Of red, green and blue, in grey levels.
    layout : {'nchw', 'nhwc'}
        Order of the axes.
    color : {'rgb', 'bgr'}
        Order of the channels.

    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layout: str
    color: str


@dataclass(frozen=True)
class Pool:
    """
    How an output becomes features.

    Parameters
    ----------
    source : str
        Output of the network.
    target : str
        Output of the graph.
    channels : int
        Width of the features.
    axes : tuple of int
        The spatial axes; empty where the output is pooled already.
    map_target : str
        Output of the graph for the map itself; empty where none is wanted.
    pooled : bool
        Whether the pooled features are wanted.

    """

    source: str
    target: str
    channels: int
    axes: tuple[int, ...]
    map_target: str = ''
    pooled: bool = True


def wrap(
    model: Any, preparation: Preparation, pools: Sequence[Pool], height: int, width: int
) -> Any:
    """
    Return the graph from ``image`` (N, h, w, 3) uint8 to features in float32.

    Parameters
    ----------
    model : onnx.ModelProto
        A network with one float input and some float outputs; it is not changed.
    preparation : Preparation
        Of its input.
    pools : sequence of Pool
        Which of its outputs are kept, and how.
    height, width : int
        Input size, in px.

    Returns
    -------
    onnx.ModelProto
        With operators of the standard only, in the network's own opset, and cut after the outputs.

    """
    from onnx import compose, helper, TensorProto

    inner = compose.add_prefix(model, _INNER)
    graph = inner.graph
    opset = opset_of(inner)
    constants = {tensor.name for tensor in graph.initializer}
    (entry,) = [value for value in graph.input if value.name not in constants]
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    before, behind = OnnxNodes(_BEFORE, opset), OnnxNodes(_BEHIND, opset)
    _prepare(before, entry.name, entry.type.tensor_type.elem_type, preparation)
    for pool in pools:
        _pool(behind, pool, kinds[_INNER + pool.source])
    targets = _targets(pools)
    nodes = _needed([*before.nodes, *graph.node, *behind.nodes], list(targets))
    used = {name for node in nodes for name in _names_read(node)}
    tensors = [*before.tensors.values(), *graph.initializer, *behind.tensors.values()]
    sparse = [tensor for tensor in graph.sparse_initializer if tensor.values.name in used]
    wrapped = helper.make_graph(
        nodes,
        'graph',
        [helper.make_tensor_value_info(_IMAGE, TensorProto.UINT8, ['N', height, width, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in targets.items()
        ],
        [tensor for tensor in tensors if tensor.name in used],
        sparse_initializer=sparse,
    )
    return helper.make_model(
        wrapped,
        opset_imports=[helper.make_opsetid('', opset)],
        ir_version=inner.ir_version,
        producer_name='ros_ood_monitor',
    )


def _targets(pools: Sequence[Pool]) -> dict[str, list[Any]]:
    """Return the shapes of the graph's outputs by name: pooled features, then maps."""
    return {pool.target: ['N', pool.channels] for pool in pools if pool.pooled} | {
        pool.map_target: ['N', None, None, pool.channels] for pool in pools if pool.map_target
    }


def _prepare(made: OnnxNodes, entry: str, kind: int, preparation: Preparation) -> None:
    """Add the way from the picture to the network's input."""
    from onnx import TensorProto

    is_nchw = preparation.layout == 'nchw'
    shape = (1, 3, 1, 1) if is_nchw else (1, 1, 1, 3)
    mean, std = (
        made.constant(name, np.array(three, np.float32).reshape(shape))
        for name, three in (('mean', preparation.mean), ('std', preparation.std))
    )
    # cast before permuting: TensorRT permutes no uint8
    steps: list[tuple[str, list[str], dict[str, Any]]] = [('Cast', [], {'to': TensorProto.FLOAT})]
    if is_nchw:
        steps.append(('Transpose', [], {'perm': [0, 3, 1, 2]}))
    steps += [('Sub', [mean], {}), ('Div', [std], {})]
    if preparation.color == 'bgr':
        order = made.constant('bgr', np.array([2, 1, 0], np.int64))
        steps.append(('Gather', [order], {'axis': 1 if is_nchw else 3}))
    if kind != TensorProto.FLOAT:
        steps.append(('Cast', [], {'to': kind}))
    x = _IMAGE
    for k, (operator, more, attributes) in enumerate(steps):
        y = entry if k == len(steps) - 1 else made.own(str(k))
        x = made.add(operator, [x, *more], y, **attributes)


def _pool(made: OnnxNodes, pool: Pool, kind: int) -> None:
    """Add the way from an output of the network to what is wanted of it."""
    from onnx import TensorProto

    x = _INNER + pool.source
    if kind != TensorProto.FLOAT:
        x = made.add('Cast', [x], made.own(pool.target), to=TensorProto.FLOAT)
    if pool.map_target:
        order = [0, 2, 3, 1] if pool.axes == (2, 3) else [0, 1, 2, 3]
        made.add('Transpose', [x], pool.map_target, perm=order)
    if pool.pooled and pool.axes:
        made.mean(x, pool.target, pool.axes)
    elif pool.pooled:
        made.add('Identity', [x], pool.target)


def _needed(nodes: Sequence[Any], outputs: Sequence[str]) -> list[Any]:
    """Return the nodes that the outputs depend on; a graph's nodes stand in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(_names_read(node))
    return kept[::-1]


def _names_read(node: Any) -> set[str]:
    """Return the names that a node reads, those of its inner graphs too."""
    names = set(node.input)
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            names.update(name for child in inner.node for name in _names_read(child))
    return names
