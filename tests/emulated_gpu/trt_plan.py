"""An emulated plan: a header with the version where a real one has it, facts, and the graph."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy.typing as npt

from ros_ood_monitor.engines.ort_engine import open_session

MAGIC = b'emulated plan'
HEADER = 24  # bytes before the version, as in a real plan
VERSIONS = {'tensorrt': '10.3.0', 'tensorrt_rtx': '1.7.1.116'}


def version_bytes(library: str) -> bytes:
    return bytes(int(part) for part in VERSIONS[library].split('.')[:3])


def write_plan(library: str, facts: dict[str, Any], onnx: bytes) -> bytes:
    text = json.dumps(facts).encode()
    size = len(text).to_bytes(4, 'little')
    return MAGIC.ljust(HEADER) + version_bytes(library) + size + text + onnx


def read_plan(plan: bytes) -> tuple[dict[str, Any], bytes]:
    start = HEADER + 7
    end = start + int.from_bytes(plan[start - 4 : start], 'little')
    return json.loads(plan[start:end]), plan[end:]


@functools.lru_cache(maxsize=16)
def _session(onnx: bytes) -> Any:
    return open_session(onnx)


def run_graph(onnx: bytes, given: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    session = _session(onnx)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))
