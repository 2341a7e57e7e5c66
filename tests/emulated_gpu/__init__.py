"""
A GPU that is none: CUDA's runtime and TensorRT's execution on a CPU, strict about their rules.

`emulate` puts it in the place of the two modules, and the product's own code runs on it. What it
shows is this project's logic: the order of calls, what each of them is given, what is waited for,
who owns what, what is said and given back where a call fails. It shows nothing about CUDA or
TensorRT themselves: not that a kernel computes what ONNX Runtime does, not that a driver takes a
call, no time, no memory that a real engine needs. Where their documentation leaves something
undefined it refuses; so something that runs here can still fail on a GPU.

Call conventions are those of the installed ``cuda.bindings.runtime``: its types, flags and errors
are used, and a test compares the functions' signatures and answers with it.
"""

from __future__ import annotations

import importlib.machinery
import sys

import pytest

from tests.emulated_gpu.machine import Machine
from tests.emulated_gpu.runtime import Runtime
from tests.emulated_gpu.trt import make_library

__all__ = ['Machine', 'emulate']


def emulate(
    monkeypatch: pytest.MonkeyPatch,
    library: str = 'tensorrt_rtx',
    *,
    is_integrated: bool = False,
    devices: int = 1,
) -> Machine:
    """Put the emulation where the product looks for CUDA and a library; the other one is gone."""
    package = pytest.importorskip('cuda.bindings', reason='cuda-bindings is not installed')
    machine = Machine(is_integrated=is_integrated, devices=devices)
    runtime = Runtime(machine)
    monkeypatch.setattr(package, 'runtime', runtime)
    monkeypatch.setitem(sys.modules, 'cuda.bindings.runtime', runtime)
    for name in ('tensorrt', 'tensorrt_rtx'):
        module = None  # importing it fails
        if name == library:
            module = make_library(machine, name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    return machine
