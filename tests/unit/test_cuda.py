"""
Memory, copies and captured calls on a GPU, without any inference library.

On a real one where there is one, and on emulated ones; see `tests.emulated_gpu`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip('cuda.bindings', reason='cuda-bindings is not installed')

from ros_ood_monitor.engines.cuda import Buffer, call, cudart, find_device
from ros_ood_monitor.errors import EngineError
from tests.emulated_gpu import emulate

SHAPE = (4, 3, 5)


@pytest.fixture(
    params=[pytest.param('gpu', marks=pytest.mark.gpu), 'emulated', 'emulated integrated']
)
def buffers(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Buffer, Buffer]]:
    machine = None
    if request.param != 'gpu':
        machine = emulate(monkeypatch, is_integrated='integrated' in request.param)
    try:
        gpu = find_device()
    except EngineError as error:
        pytest.skip(f'needs a GPU: {error}')
    made = [Buffer(SHAPE, np.float32, on_host=True, is_mapped=gpu.is_integrated) for _ in range(2)]
    yield made[0], made[1]
    for buffer in made:
        buffer.free()
    if machine is not None:
        machine.check()


def test_a_captured_call_takes_what_lies_in_host_memory_when_it_is_replayed(
    buffers: tuple[Buffer, Buffer],
) -> None:
    given, made = buffers
    assert given.host is not None
    assert made.host is not None
    runtime = cudart()
    stream = call(
        runtime.cudaStreamCreateWithFlags, runtime.cudaStreamNonBlocking, doing='testing'
    )
    flags = runtime.cudaEventBlockingSync | runtime.cudaEventDisableTiming
    done = call(runtime.cudaEventCreateWithFlags, flags, doing='testing')
    mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    call(runtime.cudaStreamBeginCapture, stream, mode, doing='testing')
    given.copy(3, stream, to_device=True)
    kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
    size = 3 * given.row_bytes
    call(runtime.cudaMemcpyAsync, made.address, given.address, size, kind, stream, doing='testing')
    made.copy(3, stream, to_device=False)
    captured = call(runtime.cudaStreamEndCapture, stream, doing='testing')
    graph = call(runtime.cudaGraphInstantiate, captured, 0, doing='testing')
    runtime.cudaGraphDestroy(captured)
    for k in range(3):
        given.host[:] = np.random.default_rng(k).normal(size=SHAPE)
        made.host[:] = -1.0
        call(runtime.cudaGraphLaunch, graph, stream, doing='testing')
        call(runtime.cudaEventRecord, done, stream, doing='testing')
        call(runtime.cudaEventSynchronize, done, doing='testing')
        np.testing.assert_array_equal(made.host[:3], given.host[:3])
        assert (made.host[3:] == -1.0).all(), 'more rows than were asked for'
    runtime.cudaGraphExecDestroy(graph)
    runtime.cudaEventDestroy(done)
    runtime.cudaStreamDestroy(stream)


def test_more_memory_than_there_is_is_refused_with_what_mends_it(
    buffers: tuple[Buffer, Buffer],
) -> None:
    whole = find_device().memory_mib * 2**20
    with pytest.raises(EngineError, match='the GPU is out of memory: end other programs'):
        Buffer((2, whole), np.uint8, on_host=False, is_mapped=False)


@pytest.mark.parametrize('is_mapped', [False, True])
def test_a_buffer_of_which_one_half_is_not_there_gives_back_the_other(
    monkeypatch: pytest.MonkeyPatch, is_mapped: bool
) -> None:
    machine = emulate(monkeypatch)
    machine.fail_at(2)
    with pytest.raises(EngineError, match=r'CUDA failed while (asking for|mapping)'):
        Buffer(SHAPE, np.float32, on_host=True, is_mapped=is_mapped)
    machine.check()


def test_bindings_that_raise_without_a_driver_are_told_as_no_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent() -> Any:
        msg = 'Failed to dlopen libcuda.so.1'
        raise RuntimeError(msg)  # as cuda-bindings 12.8 does

    emulate(monkeypatch)
    monkeypatch.setattr(cudart(), 'cudaGetDeviceCount', absent)
    with pytest.raises(EngineError, match=r'dlopen libcuda\.so\.1; no NVIDIA driver or GPU'):
        find_device()


@pytest.mark.parametrize(
    ('served', 'expected'),
    [
        (12060, r'the driver serves CUDA 12\.6, cuda-bindings \d\S* wants a newer one: update'),
        (0, 'no NVIDIA driver or GPU is visible'),
    ],
)
def test_a_driver_that_is_too_old_is_told_with_its_version(
    monkeypatch: pytest.MonkeyPatch, served: int, expected: str
) -> None:
    emulate(monkeypatch)
    insufficient = cudart().cudaError_t.cudaErrorInsufficientDriver
    monkeypatch.setattr(cudart(), 'cudaGetDeviceCount', lambda: (insufficient, None))
    monkeypatch.setattr(cudart(), 'cudaDriverGetVersion', lambda: (0, served))
    with pytest.raises(EngineError, match=f'cudaErrorInsufficientDriver; {expected}'):
        find_device()
