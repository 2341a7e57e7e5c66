"""The emulated GPU keeps CUDA's conventions and rules, so that what runs on it means something."""

from __future__ import annotations

from collections.abc import Iterator
import ctypes
from functools import reduce
import re
import sys
import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip('cuda.bindings', reason='cuda-bindings is not installed')
pytest.importorskip('onnx', reason='onnx is not installed')

from cuda.bindings import runtime as real

from ros_ood_monitor.engines.build import build_engine, BuildOptions
from ros_ood_monitor.engines.cuda import Buffer, cudart
from ros_ood_monitor.engines.trt_library import LIBRARIES, load_library
from ros_ood_monitor.engines.trt_names import USED, USED_OF_RTX, USED_OF_TENSORRT
from tests.emulated_gpu import emulate, Machine
from tests.emulated_gpu.runtime import CALLS, Runtime
from tests.tiny_bundle import make_tiny_bundle

THREAD_LOCAL = real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
TO_HOST = real.cudaMemcpyKind.cudaMemcpyDeviceToHost


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return emulate(monkeypatch, devices=2)


@pytest.fixture
def cuda(machine: Machine) -> Any:
    return cudart()


@pytest.fixture
def stream(cuda: Any) -> Any:
    return done(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking))


def done(answer: tuple[Any, ...]) -> Any:
    assert answer[0] == real.cudaError_t.cudaSuccess, answer
    return answer[1] if len(answer) == 2 else answer[1:]


def parameters(name: str) -> list[str]:
    """Return what the real function says that it takes."""
    said = re.match(rf'{name}\((.*?)\)', getattr(real, name).__doc__)
    assert said
    return [each for each in said[1].split(', ') if each]


@pytest.mark.parametrize('name', CALLS)
def test_a_function_takes_and_answers_what_the_real_one_does(machine: Machine, name: str) -> None:
    wanted = parameters(name)
    body = getattr(Runtime, name).__wrapped__
    assert body.__code__.co_argcount - 1 == len(wanted)  # without self
    machine.break_down('cudaErrorInsufficientDriver')
    given: list[Any] = []
    for parameter in wanted:
        kind = re.search(r'cudaMemcpyKind|cudaStreamCaptureMode', parameter)
        given.append(next(iter(getattr(real, kind[0]))) if kind else 0)
    failed = getattr(cudart(), name)(*given)
    assert failed[1:] == (None,) * CALLS[name] or name == 'cudaDriverGetVersion'
    try:
        find_real = real.cudaGetDeviceCount()
    except RuntimeError:
        pytest.skip('cuda-bindings raises where there is no driver')
    if find_real[0] == real.cudaError_t.cudaSuccess:
        pytest.skip('there is a GPU, which is not to be handed nothing')
    assert len(getattr(real, name)(*given)) == len(failed)


@pytest.mark.parametrize('library', LIBRARIES)
def test_a_library_has_the_names_that_are_used_and_not_those_of_the_other(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    emulate(monkeypatch, library)
    module = load_library(library).module
    own, foreign = USED_OF_TENSORRT, USED_OF_RTX
    if library == 'tensorrt_rtx':
        own, foreign = foreign, own
    for name in (*USED, *own):
        reduce(getattr, name.split('.'), module)
    for name in foreign:
        with pytest.raises(AttributeError):
            reduce(getattr, name.split('.'), module)


def test_tensors_are_those_of_a_real_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')
    folder = tmp_path_factory.mktemp('engines')
    bundle = make_tiny_bundle(folder / 'tiny', maps=True)
    options = BuildOptions(batch=(1, 2, 3))
    built, _ = build_engine(bundle, library='tensorrt_rtx', options=options, cache=folder / 'real')
    emulate(monkeypatch)
    emulated, _ = build_engine(bundle, options=options, cache=folder / 'emulated')
    assert emulated.about['tensors'] == built.about['tensors']


def test_work_is_not_done_before_it_is_waited_for(cuda: Any, stream: Any) -> None:
    buffer = Buffer((1, 4), np.uint8, on_host=True, is_mapped=False)
    assert buffer.host is not None
    buffer.copy(1, stream, to_device=True)
    buffer.host[:] = 1  # after the copy was asked for, and it takes this all the same
    buffer.copy(1, stream, to_device=False)
    done(cuda.cudaStreamSynchronize(stream))
    assert (buffer.host == 1).all()
    done(cuda.cudaMemcpyAsync(buffer._pinned, buffer.address, 4, TO_HOST, stream))
    buffer.host[:] = 2
    assert (buffer.host == 2).all()
    event = done(cuda.cudaEventCreate())
    done(cuda.cudaEventRecord(event, stream))
    done(cuda.cudaEventSynchronize(event))
    assert (buffer.host == 1).all()


def test_work_may_as_well_be_done_at_once(machine: Machine, stream: Any) -> None:
    machine.is_eager = True
    buffer = Buffer((1, 4), np.uint8, on_host=True, is_mapped=False)
    assert buffer.host is not None
    buffer.host[:] = 1
    buffer.copy(1, stream, to_device=True)
    buffer.host[:] = 2
    buffer.copy(1, stream, to_device=False)
    assert (buffer.host == 1).all()


def test_memory_that_nobody_wrote_is_no_number(cuda: Any, stream: Any) -> None:
    buffer = Buffer((2, 3), np.float32, on_host=True, is_mapped=False)
    buffer.copy(2, stream, to_device=False)
    done(cuda.cudaStreamSynchronize(stream))
    assert np.isnan(buffer.host).all()


def test_replaying_does_what_capturing_did_not(cuda: Any, stream: Any) -> None:
    buffer = Buffer((1, 4), np.uint8, on_host=True, is_mapped=False)
    assert buffer.host is not None
    done(cuda.cudaStreamBeginCapture(stream, THREAD_LOCAL))
    buffer.copy(1, stream, to_device=False)
    graph = done(cuda.cudaStreamEndCapture(stream))
    buffer.host[:] = 7
    done(cuda.cudaStreamSynchronize(stream))
    assert (buffer.host == 7).all()
    replay = done(cuda.cudaGraphInstantiate(graph, 0))
    done(cuda.cudaGraphDestroy(graph))
    done(cuda.cudaGraphLaunch(replay, stream))
    done(cuda.cudaStreamSynchronize(stream))
    assert (buffer.host == 0xFF).all()


@pytest.mark.parametrize('name', ['cudaMalloc', 'cudaStreamSynchronize', 'cudaEventCreate'])
def test_what_a_capture_forbids_spoils_it(cuda: Any, stream: Any, name: str) -> None:
    done(cuda.cudaStreamBeginCapture(stream, THREAD_LOCAL))
    given = {'cudaMalloc': [8], 'cudaStreamSynchronize': [stream]}.get(name, [])
    assert getattr(cuda, name)(*given)[0].name == 'cudaErrorStreamCaptureUnsupported'
    other: list[Any] = []
    thread = threading.Thread(target=lambda: other.append(cuda.cudaMalloc(8)))
    thread.start()
    thread.join()
    done(other[0])  # the capture is the thread's
    assert cuda.cudaStreamEndCapture(stream)[0].name == 'cudaErrorStreamCaptureInvalidated'
    done(cuda.cudaStreamSynchronize(stream))


def faults(cuda: Any, stream: Any) -> Iterator[tuple[str, str]]:
    """Do what must not be done; yield the answer and what is remembered of it."""
    buffer = Buffer((1, 4), np.uint8, on_host=True, is_mapped=False)
    address, pinned = buffer.address, buffer._pinned
    buffer.copy(1, stream, to_device=True)
    yield cuda.cudaFree(address)[0].name, 'freed while work on it is pending'
    yield cuda.cudaFree(address)[0].name, 'no such memory, or twice'
    yield cuda.cudaFree(pinned)[0].name, 'no such memory, or twice'
    ctypes.memset(pinned, 1, 1)
    yield cuda.cudaStreamSynchronize(stream)[0].name, 'cudaErrorIllegalAddress while running'
    yield cuda.cudaMalloc(8)[0].name, ''


def test_careless_use_is_refused_and_remembered(machine: Machine, cuda: Any, stream: Any) -> None:
    answers = []
    for answer, remembered in faults(cuda, stream):
        answers.append(answer)
        assert remembered in machine.carelessness[-1]
    assert answers == [
        'cudaSuccess',
        'cudaErrorInvalidValue',
        'cudaErrorInvalidValue',
        'cudaErrorIllegalAddress',
        'cudaErrorIllegalAddress',  # nothing works any more
    ]
    with pytest.raises(AssertionError, match=r"'pinned memory': 1.*'Stream': 1"):
        machine.check()


def test_what_is_written_after_it_was_given_back_is_seen(machine: Machine, cuda: Any) -> None:
    buffer = Buffer((1, 4), np.uint8, on_host=True, is_mapped=False)
    host = buffer.host
    assert host is not None
    buffer.free()
    machine.check()
    host[0] = 1
    with pytest.raises(AssertionError, match='written after it was given back'):
        machine.check()


def test_a_handle_is_of_its_kind_its_device_and_alive(cuda: Any, stream: Any) -> None:
    event = done(cuda.cudaEventCreateWithFlags(cuda.cudaEventDisableTiming))
    with pytest.raises(TypeError, match='expected cudaStream_t'):
        cuda.cudaStreamSynchronize(event)
    done(cuda.cudaEventRecord(event, stream))
    assert cuda.cudaEventElapsedTime(event, event)[0].name == 'cudaErrorInvalidResourceHandle'
    done(cuda.cudaSetDevice(1))
    assert cuda.cudaEventRecord(event, stream)[0].name == 'cudaErrorInvalidResourceHandle'
    assert cuda.cudaSetDevice(2)[0].name == 'cudaErrorInvalidDevice'
    done(cuda.cudaStreamSynchronize(stream))
    done(cuda.cudaStreamDestroy(stream))
    assert cuda.cudaStreamSynchronize(stream)[0].name == 'cudaErrorInvalidResourceHandle'


def test_a_real_handle_and_error_behave_as_the_code_takes_them() -> None:
    stream = real.cudaStream_t(0x1230)
    assert int(stream) == 0x1230
    assert int(real.cudaError_t.cudaSuccess) == 0
    assert real.cudaError_t.cudaErrorMemoryAllocation.name == 'cudaErrorMemoryAllocation'
    facts = real.cudaDeviceProp()
    assert isinstance(facts.name, bytes)
    for name in ('major', 'minor', 'totalGlobalMem', 'integrated'):
        assert isinstance(getattr(facts, name), int)


def test_the_emulation_leaves_with_its_test() -> None:
    assert not isinstance(sys.modules.get('cuda.bindings.runtime'), Runtime)
    assert not isinstance(cudart(), Runtime)
