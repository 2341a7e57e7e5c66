"""ONNX files as this package writes them: standard operators, no notes, equal bytes."""

from __future__ import annotations

from typing import Any

from ros_ood_monitor.errors import EngineError

__all__ = ['rename_weights', 'strip_notes', 'to_bytes']

_OWN_OPERATORS = ('', 'ai.onnx')


def to_bytes(model: Any) -> bytes:
    """
    Return a model's file without notes on where its nodes come from.

    Parameters
    ----------
    model : onnx.ModelProto
        Changed in place.

    Returns
    -------
    bytes
        No names of modules or places on disk, no stack traces and no shape notes, so that equal
        weights give equal bytes.

    Raises
    ------
    EngineError
        If the graph needs operators outside of the ONNX standard.

    """
    strip_notes(model)
    graph = model.graph
    if len(model.functions) > 0 or any(n.domain not in _OWN_OPERATORS for n in graph.node):
        msg = 'exported graph needs operators outside of the ONNX standard; change the module'
        raise EngineError(msg)
    return bytes(model.SerializeToString(deterministic=True))


def strip_notes(model: Any) -> None:
    """
    Take out what tells where nodes come from, and the shapes between them.

    Parameters
    ----------
    model : onnx.ModelProto
        Changed in place.

    """
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField('doc_string')
        if hasattr(part, 'metadata_props'):
            del part.metadata_props[:]
    del graph.value_info[:]
    graph.name = 'graph'


def rename_weights(model: Any, prefix: str) -> None:
    """
    Take a prefix from the names of weights.

    Parameters
    ----------
    model : onnx.ModelProto
        Changed in place.
    prefix : str
        Of the module that holds the network; weights are then named as in the network.

    """
    names = {t.name: t.name.removeprefix(prefix) for t in model.graph.initializer}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        for k, name in enumerate(node.input):
            if name in names:
                node.input[k] = names[name]
