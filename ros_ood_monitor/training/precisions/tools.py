"""
The converters that come with ONNX Runtime, kept from what they do beside converting.

They log at the root logger's level, and importing them appends a folder of theirs to the module
search path, where its ``benchmark`` or ``profiler`` could be taken for somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import importlib
import logging
import sys
from typing import Any

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.packages import import_problem

__all__ = ['float16_converter', 'quantizer', 'silent']

_QUANTIZATION, _FLOAT16 = 'onnxruntime.quantization', 'onnxruntime.transformers.float16'


def float16_converter() -> Callable[..., Any]:
    """Return ``convert_float_to_float16`` of ONNX Runtime."""
    convert: Callable[..., Any] = _modules()[_FLOAT16].convert_float_to_float16
    return convert


def quantizer() -> Any:
    """Return the module ``onnxruntime.quantization``."""
    return _modules()[_QUANTIZATION]


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep the tools from logging; what matters comes as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _modules() -> dict[str, Any]:
    """Import both at once: the second one finds its parts by the path that the first one set."""
    path = list(sys.path)
    try:
        return {name: importlib.import_module(name) for name in (_QUANTIZATION, _FLOAT16)}
    except ImportError as error:
        msg = f'conversion needs {import_problem(error, "onnx")}'
        raise TrainingError(msg) from error
    finally:
        sys.path[:] = path
