"""Graph surgery: preprocessing in front of an ONNX network, mean pooling behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ['Pool', 'Preparation', 'wrap']

_IMAGE, _INNER = 'image', 'network/'
_AXES_AS_INPUT = 18  # the opset from which ReduceMean takes its axes as an input


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
        A network with one float input and some outputs; it is not changed.
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
    opset = next(item.version for item in inner.opset_import if item.domain in ('', 'ai.onnx'))
    constants = {tensor.name for tensor in graph.initializer}
    (entry,) = [value for value in graph.input if value.name not in constants]
    kind = entry.type.tensor_type.elem_type
    front = _front(entry.name, kind, preparation)
    back = [node for pool in pools for node in _back(pool, opset, half=kind != TensorProto.FLOAT)]
    targets = _targets(pools)
    nodes = _needed([*front, *graph.node, *back], list(targets))
    used = {name for node in nodes for name in _names_read(node)}
    tensors = [*_constants(preparation, opset, pools), *graph.initializer]
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


def _front(entry: str, kind: int, preparation: Preparation) -> list[Any]:
    from onnx import helper, TensorProto

    # cast before permuting: TensorRT permutes no uint8
    steps: list[tuple[str, list[str], dict[str, Any]]] = [('Cast', [], {'to': TensorProto.FLOAT})]
    if preparation.layout == 'nchw':
        steps.append(('Transpose', [], {'perm': [0, 3, 1, 2]}))
    steps += [('Sub', ['mean'], {}), ('Div', ['std'], {})]
    if preparation.color == 'bgr':
        steps.append(('Gather', ['bgr'], {'axis': 1 if preparation.layout == 'nchw' else 3}))
    if kind != TensorProto.FLOAT:
        steps.append(('Cast', [], {'to': kind}))
    nodes, x = [], _IMAGE
    for k, (operator, more, attributes) in enumerate(steps):
        y = entry if k == len(steps) - 1 else f'prepared_{k}'
        nodes.append(helper.make_node(operator, [x, *more], [y], **attributes))
        x = y
    return nodes


def _back(pool: Pool, opset: int, *, half: bool) -> list[Any]:
    from onnx import helper, TensorProto

    nodes, x = [], _INNER + pool.source
    if half:
        nodes.append(helper.make_node('Cast', [x], [f'{pool.target}_full'], to=TensorProto.FLOAT))
        x = f'{pool.target}_full'
    if pool.map_target:
        order = [0, 2, 3, 1] if pool.axes == (2, 3) else [0, 1, 2, 3]
        nodes.append(helper.make_node('Transpose', [x], [pool.map_target], perm=order))
    if not pool.axes:
        nodes.append(helper.make_node('Identity', [x], [pool.target]))
    elif opset >= _AXES_AS_INPUT:
        axes = _axes_name(pool)
        nodes.append(helper.make_node('ReduceMean', [x, axes], [pool.target], keepdims=0))
    else:
        axes_given = list(pool.axes)
        nodes.append(
            helper.make_node('ReduceMean', [x], [pool.target], axes=axes_given, keepdims=0)
        )
    return nodes


def _constants(preparation: Preparation, opset: int, pools: Sequence[Pool]) -> list[Any]:
    from onnx import numpy_helper

    shape = (1, 3, 1, 1) if preparation.layout == 'nchw' else (1, 1, 1, 3)
    values: dict[str, np.ndarray[Any, Any]] = {
        'mean': np.array(preparation.mean, np.float32).reshape(shape),
        'std': np.array(preparation.std, np.float32).reshape(shape),
        'bgr': np.array([2, 1, 0], np.int64),
    }
    if opset >= _AXES_AS_INPUT:
        values |= {_axes_name(pool): np.array(pool.axes, np.int64) for pool in pools if pool.axes}
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def _axes_name(pool: Pool) -> str:
    return 'axes_' + '_'.join(map(str, pool.axes))


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
