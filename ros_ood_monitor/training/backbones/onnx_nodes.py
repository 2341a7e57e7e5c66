"""Nodes that are put around an ONNX network: named apart from it, in its own opset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ['OnnxNodes', 'opset_of']

_AXES_AS_INPUT: Final = 18  # the opset from which ReduceMean takes its axes as an input


def opset_of(model: Any) -> int:
    """
    Return the version of the standard's operators that a network is written in.

    Parameters
    ----------
    model : onnx.ModelProto
        The network.

    Returns
    -------
    int
        0 where it states none.

    """
    stated = (item.version for item in model.opset_import if item.domain in ('', 'ai.onnx'))
    return next(stated, 0)


class OnnxNodes:
    """
    Nodes of a graph, and the constants that they read, each once.

    Parameters
    ----------
    prefix : str
        Of tensors between them; with a ``/``, which no name of an output has.
    opset : int
        In which they are written.

    """

    def __init__(self, prefix: str, opset: int) -> None:
        self.nodes: list[Any] = []
        self.tensors: dict[str, Any] = {}
        self._prefix = prefix
        self._opset = opset

    def own(self, name: str) -> str:
        """Return the name of a tensor that nobody else has."""
        return self._prefix + name

    def add(self, kind: str, given: Sequence[str], made: str, **attributes: Any) -> str:
        """Append a node, and return the tensor that it makes."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, given, [made], f'{made}_node', **attributes))
        return made

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """Keep a tensor of numbers, and return its name."""
        from onnx import numpy_helper

        name = self.own(name)
        self.tensors[name] = numpy_helper.from_array(values, name)
        return name

    def reshape(self, given: str, made: str, shape: Sequence[int]) -> str:
        """Give a tensor another shape; one axis of it may be -1."""
        return self.add('Reshape', [given, self._integers('shape', shape)], made)

    def mean(self, given: str, made: str, axes: Sequence[int]) -> str:
        """Take the mean over axes, which are gone then."""
        if self._opset >= _AXES_AS_INPUT:
            return self.add('ReduceMean', [given, self._integers('axes', axes)], made, keepdims=0)
        return self.add('ReduceMean', [given], made, axes=list(axes), keepdims=0)

    def _integers(self, kind: str, values: Sequence[int]) -> str:
        return self.constant('_'.join(map(str, [kind, *values])), np.array(values, np.int64))
