"""A bundle's backbone in PyTorch, from its ONNX file: the yardstick where no engine runs."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import numpy_helper
import torch
from torch.nn import functional

_KINDS = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.FLOAT16: torch.float16}


class TorchGraph:
    """
    Runs the few operators that the backbones are made of, with the file's own weights.

    Parameters
    ----------
    model : bytes
        The backbone's ONNX file, float32.
    device : str
        Where it runs.
    half : bool
        Whether everything between the first weight and the pooling is computed in float16.

    """

    def __init__(self, model: bytes, *, device: str, half: bool = False) -> None:
        graph = onnx.load_from_string(model).graph
        self.nodes = list(graph.node)
        self.names = [output.name for output in graph.output]
        self._body = torch.float16 if half else torch.float32
        self._stored: dict[str, Any] = {}
        for tensor in graph.initializer:
            values = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            if values.dtype == torch.float32 and values.ndim and values.numel() > 1:
                values = values.to(self._body)  # a weight
            # axes and bounds are read while a call is captured, when nothing may be fetched
            is_far = values.is_floating_point() and values.ndim
            self._stored[tensor.name] = values.to(device) if is_far else values
        unknown = {node.op_type for node in self.nodes} - {
            name[1:] for name in dir(self) if name[:1] == '_' and name[1:2].isupper()
        }
        if unknown:
            msg = f'operators that the yardstick does not know: {sorted(unknown)}'
            raise NotImplementedError(msg)

    @torch.inference_mode()
    def __call__(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features (n, channels) and maps (n, gh, gw, channels), float32."""
        held: dict[str, Any] = {**self._stored, 'image': image}
        for node in self.nodes:
            given = [held[name] if name else None for name in node.input]
            options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            held[node.output[0]] = getattr(self, f'_{node.op_type}')(given, options)
        return [held[name].float() for name in self.names]

    def _Cast(self, given: list[Any], options: dict[str, Any]) -> Any:  # noqa: N802
        return given[0].to(_KINDS[options['to']])

    def _Transpose(self, given: list[Any], options: dict[str, Any]) -> Any:  # noqa: N802
        return given[0].permute(options['perm'])

    def _Sub(self, given: list[Any], _: dict[str, Any]) -> Any:  # noqa: N802
        return given[0] - given[1]

    def _Div(self, given: list[Any], _: dict[str, Any]) -> Any:  # noqa: N802
        return given[0] / given[1]

    def _Add(self, given: list[Any], _: dict[str, Any]) -> Any:  # noqa: N802
        return given[0] + given[1]

    def _Mul(self, given: list[Any], _: dict[str, Any]) -> Any:  # noqa: N802
        return given[0] * given[1]

    def _Relu(self, given: list[Any], _: dict[str, Any]) -> Any:  # noqa: N802
        return functional.relu(given[0])

    def _Clip(self, given: list[Any], _: dict[str, Any]) -> Any:  # noqa: N802
        return given[0].clamp(*(None if each is None else each.item() for each in given[1:]))

    def _ReduceMean(self, given: list[Any], options: dict[str, Any]) -> Any:  # noqa: N802
        axes = tuple(given[1].tolist()) if len(given) > 1 else tuple(options['axes'])
        return given[0].float().mean(dim=axes, keepdim=bool(options.get('keepdims', 1)))

    def _Conv(self, given: list[Any], options: dict[str, Any]) -> Any:  # noqa: N802
        top, left, bottom, right = options.get('pads', [0, 0, 0, 0])
        image = given[0].to(self._body)
        padding: Any = (top, left)
        if (top, left) != (bottom, right):
            image, padding = functional.pad(image, (left, right, top, bottom)), 0
        return functional.conv2d(
            image,
            given[1],
            given[2] if len(given) > 2 else None,
            stride=tuple(options.get('strides', (1, 1))),
            padding=padding,
            dilation=tuple(options.get('dilations', (1, 1))),
            groups=options.get('group', 1),
        )
