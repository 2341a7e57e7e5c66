"""Reading a user's ONNX file and the facts beside it, with every refusal before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones.onnx_graph import Preparation
from ros_ood_monitor.training.backbones.onnx_nodes import opset_of
from ros_ood_monitor.training.backbones.packages import require

__all__ = ['Facts', 'read_facts', 'read_model']

_OLDEST_OPSET = 11
_REQUIRED = ('mean', 'std', 'color', 'layout')
_OPTIONAL = ('height', 'width', 'outputs', 'output_layout', 'weights', 'licence')
_CHOICES = {'color': ('rgb', 'bgr'), 'layout': ('nchw', 'nhwc'), 'output_layout': ('nchw', 'nhwc')}


@dataclass(frozen=True)
class Facts:
    """
    What must be known of a network to feed it and to read its outputs.

    Parameters
    ----------
    preparation : Preparation
        Of the input; mean and std in the order red, green, blue.
    dtype : type
        Of the input: float32 or float16.
    input_size : tuple of int
        Height and width, in px.
    fixed_size : bool
        Whether the file takes no other size.
    outputs : tuple of str
        Outputs to offer as taps.
    output_layout : {'nchw', 'nhwc'}
        Of maps.
    weights, licence : str
        Where the weights come from, and what may be done with them.

    """

    preparation: Preparation
    dtype: type
    input_size: tuple[int, int]
    fixed_size: bool
    outputs: tuple[str, ...]
    output_layout: str
    weights: str
    licence: str


def read_model(file: Path) -> Any:
    """
    Read an ONNX file with its weights inside.

    Parameters
    ----------
    file : Path
        The network.

    Returns
    -------
    onnx.ModelProto
        Local functions are inlined.

    Raises
    ------
    TrainingError
        If it is no whole ONNX file of standard operators.

    """
    onnx = require('onnx')
    try:
        model = onnx.load_model(file, load_external_data=False)
    except OSError as error:
        msg = f'backbone cannot be read ({error.strerror or error}): {file}'
        raise TrainingError(msg) from error
    except Exception as error:  # the parser's own exceptions are no part of onnx's names
        msg = f'backbone is no ONNX file: {file}'
        raise TrainingError(msg) from error
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        msg = f'weights lie outside of the ONNX file; save the network as a single file: {file}'
        raise TrainingError(msg)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        msg = f'backbone is no valid ONNX file ({str(error).splitlines()[0]}): {file}'
        raise TrainingError(msg) from error
    if model.functions:
        import onnx.inliner

        model = onnx.inliner.inline_local_functions(model)
    foreign = sorted({n.op_type for n in model.graph.node if n.domain not in ('', 'ai.onnx')})
    if foreign:
        msg = (
            f'backbone needs operators outside of the ONNX standard: {", ".join(foreign)}; '
            f'export it without them: {file}'
        )
        raise TrainingError(msg)
    opset = opset_of(model)
    if opset < _OLDEST_OPSET:
        msg = f'backbone is too old: expected opset {_OLDEST_OPSET} or newer, got {opset}: {file}'
        raise TrainingError(msg)
    return model


def read_facts(file: Path, model: Any) -> Facts:
    """
    Read the facts beside an ONNX file and compare them with it.

    Parameters
    ----------
    file : Path
        The network.
    model : onnx.ModelProto
        From `read_model`.

    Returns
    -------
    Facts
        Complete.

    Raises
    ------
    TrainingError
        If a fact is missing, unknown or contradicts the file.

    """
    beside = file.with_name(f'{file.name}.yaml')
    raw = _read_yaml(beside)
    unknown = sorted(set(map(str, raw)) - set(_REQUIRED) - set(_OPTIONAL))
    missing = [key for key in _REQUIRED if key not in raw]
    if unknown or missing:
        msg = (
            f'facts of the backbone are wrong: expected {", ".join(_REQUIRED)} and perhaps '
            f'{", ".join(_OPTIONAL)}, missing {missing}, unknown {unknown}: {beside}'
        )
        raise TrainingError(msg)
    for key, allowed in _CHOICES.items():
        if raw.get(key, allowed[0]) not in allowed:
            msg = f'{key} is unknown: expected one of {list(allowed)}, got {raw[key]!r}: {beside}'
            raise TrainingError(msg)
    mean, std = _three(raw, 'mean', beside), _three(raw, 'std', beside)
    if min(std) <= 0:
        msg = f'std must be positive, got {list(std)}: {beside}'
        raise TrainingError(msg)
    if raw['color'] == 'bgr':
        mean, std = mean[::-1], std[::-1]
    dtype, declared = _input(model, raw['layout'], file)
    return Facts(
        preparation=Preparation(mean, std, raw['layout'], raw['color']),
        dtype=dtype,
        input_size=_size(raw, declared, beside),
        fixed_size=all(declared),
        outputs=_outputs(raw, model, beside),
        output_layout=raw.get('output_layout', raw['layout']),
        weights=str(raw.get('weights', '')),
        licence=str(raw.get('licence', 'not stated')),
    )


def _read_yaml(beside: Path) -> Mapping[str, Any]:
    try:
        raw = yaml.safe_load(beside.read_text(encoding='utf-8'))
    except FileNotFoundError as error:
        msg = (
            f'facts of the backbone are missing: expected a file with {", ".join(_REQUIRED)} '
            f'beside the network; write it: {beside}'
        )
        raise TrainingError(msg) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f'facts of the backbone cannot be read ({str(error).splitlines()[0]}): {beside}'
        raise TrainingError(msg) from error
    if not isinstance(raw, dict):
        msg = f'facts of the backbone are wrong: expected keys with values: {beside}'
        raise TrainingError(msg)
    return raw


def _three(raw: Mapping[str, Any], key: str, beside: Path) -> tuple[float, float, float]:
    value = raw[key]
    numbers = isinstance(value, list) and all(type(v) in (int, float) for v in value)
    if not numbers or len(value) != 3 or not np.all(np.isfinite(value)):
        msg = f'{key} is wrong: expected three numbers in grey levels, got {value!r}: {beside}'
        raise TrainingError(msg)
    first, second, third = (float(v) for v in value)
    return first, second, third


def _input(model: Any, layout: str, file: Path) -> tuple[type, tuple[int, int]]:
    """Return the type of the only input and its height and width, 0 where they are open."""
    onnx = require('onnx')
    constants = {tensor.name for tensor in model.graph.initializer}
    entries = [value for value in model.graph.input if value.name not in constants]
    types = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.FLOAT16: np.float16}
    got = 'none'
    if len(entries) == 1:
        tensor = entries[0].type.tensor_type
        shape = [dim.dim_value for dim in tensor.shape.dim]
        channels, rows, columns = (1, 2, 3) if layout == 'nchw' else (3, 1, 2)
        three = shape[channels : channels + 1] == [3] or (len(shape) == 4 and 3 not in shape)
        if tensor.elem_type in types and len(shape) == 4 and three:
            return types[tensor.elem_type], (shape[rows], shape[columns])
        got = f'{onnx.TensorProto.DataType.Name(tensor.elem_type)} {shape}'
    elif entries:
        got = f'{len(entries)} inputs'
    msg = (
        f'input of the backbone does not fit: expected one of float pixels, {layout} with '
        f'3 channels, got {got}: {file}'
    )
    raise TrainingError(msg)


def _size(raw: Mapping[str, Any], declared: tuple[int, int], beside: Path) -> tuple[int, int]:
    sides = []
    for key, side in zip(('height', 'width'), declared, strict=True):
        given = raw.get(key, side)
        if type(given) is not int or given < 1 or (side and given != side):
            expected = f'{side} px as in the network' if side else 'a number of px'
            msg = f'{key} is wrong: expected {expected}, got {raw.get(key)!r}: {beside}'
            raise TrainingError(msg)
        sides.append(given)
    return sides[0], sides[1]


def _outputs(raw: Mapping[str, Any], model: Any, beside: Path) -> tuple[str, ...]:
    known = [value.name for value in model.graph.output]
    given = raw.get('outputs', known)
    if not isinstance(given, list) or not given or not set(given) <= set(known):
        msg = f'outputs are unknown: expected some of {known}, got {given!r}: {beside}'
        raise TrainingError(msg)
    return tuple(name for name in known if name in given)
