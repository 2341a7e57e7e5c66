"""Memory, copies and captured calls on a GPU, without any inference library."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip('cuda.bindings', reason='cuda-bindings is not installed')

from ros_ood_monitor.engines.cuda import Buffer, call, cudart, find_device
from ros_ood_monitor.errors import EngineError

pytestmark = pytest.mark.gpu

SHAPE = (4, 3, 5)


@pytest.fixture
def buffers() -> Iterator[tuple[Buffer, Buffer]]:
    try:
        gpu = find_device()
    except EngineError as error:
        pytest.skip(f'needs a GPU: {error}')
    made = [Buffer(SHAPE, np.float32, on_host=True, is_mapped=gpu.is_integrated) for _ in range(2)]
    yield made[0], made[1]
    for buffer in made:
        buffer.free()


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
