"""A backbone with float16 weights and maps, between a float32 entry and a float32 exit."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper, TensorProto

from ros_ood_monitor.training.precisions.graph import parse, parts_of, serialize, sort_nodes
from ros_ood_monitor.training.precisions.tools import float16_converter

__all__ = ['to_fp16']

_INNER = '_half'


def to_fp16(backbone: bytes) -> bytes:
    """
    Return the backbone with its body in float16.

    Parameters
    ----------
    backbone : bytes
        ONNX file in float32.

    Returns
    -------
    bytes
        ONNX file with the same inputs and outputs.

    Raises
    ------
    TrainingError
        If the file is not usable.

    """
    model = parse(backbone)
    graph = model.graph
    parts = parts_of(model)
    types = _types(model)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    made = {name for node in parts.body for name in node.output}
    taken = {name for node in parts.body for name in node.input if name}
    kept = {name for node in (*parts.entry, *parts.exit) for name in node.input}
    entering = sorted(taken - made - set(stored))
    leaving = sorted(made & (kept | {output.name for output in graph.output}))

    # the body as a graph of its own, and all of it converted: what both sides know by one name
    # gets a second one inside
    inner = {name: name + _INNER for name in (*entering, *leaving, *sorted(kept & set(stored)))}
    cut = helper.make_graph(
        [_renamed_node(node, inner) for node in parts.body],
        'graph',
        [_renamed(types[name], inner) for name in entering],
        [_renamed(types[name], inner) for name in leaving],
        [_renamed(stored[name], inner) for name in sorted(taken & set(stored))],
    )
    body = float16_converter()(_model_like(model, cut), keep_io_types=False).graph

    weights = [*body.initializer, *(stored[name] for name in sorted(kept & set(stored)))]
    nodes = sort_nodes(
        [
            *parts.entry,
            *(_cast(name, inner[name], _type_of(types[name], half=True)) for name in entering),
            *body.node,
            *(_cast(inner[name], name, _type_of(types[name])) for name in leaving),
            *parts.exit,
        ],
        [graph.input[0].name, *(tensor.name for tensor in weights)],
    )
    joined = helper.make_graph(nodes, 'graph', graph.input[:1], graph.output, weights)
    return serialize(_model_like(model, joined))


def _types(model: Any) -> dict[str, Any]:
    """Return element type and shape of every tensor that a node makes or the caller gives."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {info.name: info for info in (*graph.input, *graph.value_info, *graph.output)}


def _type_of(info: Any, *, half: bool = False) -> int:
    kind = int(info.type.tensor_type.elem_type)
    return TensorProto.FLOAT16 if half and kind == TensorProto.FLOAT else kind


def _cast(source: str, target: str, kind: int) -> Any:
    return helper.make_node('Cast', [source], [target], f'{target}_cast', to=kind)


def _renamed(named: Any, names: dict[str, str]) -> Any:
    copy = type(named)()
    copy.CopyFrom(named)
    copy.name = names.get(named.name, named.name)
    return copy


def _renamed_node(node: Any, names: dict[str, str]) -> Any:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    return copy


def _model_like(model: Any, graph: Any) -> Any:
    like = helper.make_model(graph, opset_imports=model.opset_import)
    like.ir_version = model.ir_version
    return like
