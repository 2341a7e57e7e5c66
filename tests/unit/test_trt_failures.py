"""The engine where something fails, on an emulated GPU: an EngineError, nothing held, no hang."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import gc
from pathlib import Path
import threading

import numpy as np
import pytest

pytest.importorskip('cuda.bindings', reason='cuda-bindings is not installed')
pytest.importorskip('onnx', reason='onnx is not installed')

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.engines.build import build_engine, BuildOptions
from ros_ood_monitor.engines.cache import EngineFiles
from ros_ood_monitor.engines.ort_engine import OrtEngine
from ros_ood_monitor.engines.trt_engine import TrtEngine
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Frame
from tests.emulated_gpu import emulate, Machine
from tests.tiny_bundle import make_tiny_bundle

RELEASING = {
    'cudaFree',
    'cudaFreeHost',
    'cudaStreamDestroy',
    'cudaEventDestroy',
    'cudaGraphDestroy',
    'cudaGraphExecDestroy',
}
"""What may tell of earlier failures, and gives back all the same."""

SAVING = {'RuntimeCache.deserialize', 'RuntimeCache.serialize', 'RuntimeConfig.set_runtime_cache'}
"""Without them kernels are compiled again."""

DISPENSABLE = {
    *RELEASING,
    *SAVING,
    'RuntimeConfig.create_runtime_cache',
    'RtxContext.is_stream_capturable',
    'cudaSetDeviceFlags',
}

IMAGES = np.random.default_rng(5).integers(100, 156, (5, 32, 48, 3)).astype(np.uint8)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'maps', maps=True)


@pytest.fixture(
    params=['tensorrt', 'tensorrt_rtx integrated'],
)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Machine:
    library, *more = request.param.split()
    return emulate(monkeypatch, library, is_integrated=bool(more))


@pytest.fixture
def files(machine: Machine, bundle: Bundle, tmp_path: Path) -> EngineFiles:
    return build_engine(bundle, options=BuildOptions(batch=(1, 2, 2)), cache=tmp_path)[0]


def check(machine: Machine) -> None:
    """Refuse anything that is held once Python has let go of what an error's frames hold."""
    gc.collect()
    machine.check()


def live(engine: TrtEngine) -> None:
    """Do what an engine does from its warming up to its last frame."""
    engine.warm_up()
    for count in (5, 1):  # more than it was built for, and fewer
        engine.infer(IMAGES[:count])


def scores(engine: TrtEngine | OrtEngine) -> list[float]:
    reading = engine.infer(IMAGES)
    assert reading.patch_score is not None
    return [*map(float, reading.raw_score), *map(float, reading.patch_score.ravel())]


def failure_of(machine: Machine, bundle: Bundle, files: EngineFiles, wanted: list[float]) -> str:
    """Let an engine live, and see it scores well whatever failed once; return what was said."""
    said = ''
    engine = None
    try:
        engine = TrtEngine(bundle, files)
        try:
            live(engine)
        except EngineError as error:
            said = str(error)
        machine.fail_at(0)
        assert scores(engine) == pytest.approx(wanted, rel=1e-4)  # what failed has passed
    except EngineError as error:
        said = str(error)
    finally:
        if engine is not None:
            engine.close()
    return said


def test_whichever_call_fails_an_engine_error_says_so_and_nothing_stays(
    machine: Machine, bundle: Bundle, files: EngineFiles, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = scores(OrtEngine(bundle))
    gc.collect()
    gc.freeze()  # what was there before is not looked through a hundred times
    for _ in range(2):  # the second one finds compiled kernels
        machine.fail_at(0)
        with contextlib.closing(TrtEngine(bundle, files)) as engine:
            live(engine)
            closing = len(machine.calls)
    names = list(machine.calls)
    del engine
    check(machine)
    assert {'cudaMalloc', 'cudaGraphLaunch', 'cudaStreamSynchronize'} < set(names)
    capturing = False
    for k, name in enumerate(names, start=1):
        machine.fail_at(k)
        said = failure_of(machine, bundle, files, wanted)
        check(machine)
        capturing |= name == 'cudaStreamBeginCapture'
        if not said:  # calls that cannot be captured are enqueued one by one
            assert name in DISPENSABLE or capturing or k > closing, (k, name)
        elif name.startswith('cuda'):
            assert 'CUDA failed while ' in said, (k, name, said)
            assert 'cudaErrorUnknown; restart the node' in said, (k, name, said)
        else:
            assert 'failed as it was told to' in said or 'is not valid' in said, (k, name, said)
        capturing &= name != 'cudaGraphInstantiate'
    told = [record.getMessage() for record in caplog.records]
    assert all('pictures are not captured: ' in text for text in told)
    assert told


@pytest.mark.parametrize('error', ['cudaErrorMemoryAllocation', 'cudaErrorNoDevice'])
def test_an_error_of_which_the_remedy_is_known_tells_it(
    machine: Machine, bundle: Bundle, files: EngineFiles, error: str
) -> None:
    remedy = {'cudaErrorMemoryAllocation': 'smaller --batch', 'cudaErrorNoDevice': 'nvidia-smi'}
    machine.fail_at(0)
    TrtEngine(bundle, files).close()
    machine.fail_at(1 + machine.calls.index('cudaMalloc'), error)
    with pytest.raises(EngineError, match=remedy[error]):
        TrtEngine(bundle, files)


def test_a_lost_gpu_is_told_each_time_and_closing_goes_on(
    machine: Machine, bundle: Bundle, files: EngineFiles
) -> None:
    engine = TrtEngine(bundle, files)
    engine.warm_up()
    machine.break_down('cudaErrorLaunchFailure')
    for _ in range(2):
        with pytest.raises(EngineError, match='cudaErrorLaunchFailure; restart the node'):
            engine.infer(IMAGES[:1])
    engine.close()
    engine.close()
    assert engine.describe()['cuda_graph'] == 'no'
    with pytest.raises(EngineError, match='CUDA failed while looking for a GPU'):
        TrtEngine(bundle, files)


def test_closing_waits_for_what_a_failed_call_has_left_behind(
    machine: Machine, bundle: Bundle, files: EngineFiles
) -> None:
    machine.fail_at(0)
    with contextlib.closing(TrtEngine(bundle, files, capture=False)) as engine:
        engine.infer(IMAGES[:1])
        machine.fail_at(0)
        engine.infer(IMAGES[:1])
        names = list(machine.calls)
    assert names[-1] == 'cudaStreamSynchronize'
    for k in range(1, len(names) + 1):
        with contextlib.closing(TrtEngine(bundle, files, capture=False)) as engine:
            engine.infer(IMAGES[:1])
            machine.fail_at(k)
            with pytest.raises(EngineError):
                engine.infer(IMAGES[:1])
        del engine
        check(machine)


def test_waiting_lets_other_threads_run(
    machine: Machine, bundle: Bundle, files: EngineFiles
) -> None:
    with contextlib.closing(TrtEngine(bundle, files)) as engine:
        live(engine)
        machine.fail_at(0)
        engine.infer(IMAGES[:1])
        # as cudaEventSynchronize does not, in cuda-bindings up to 12.9.0
        assert machine.calls == ['cudaSetDevice', 'cudaGraphLaunch', 'cudaStreamSynchronize']


def test_memory_is_copied_where_the_gpu_has_its_own_only(
    machine: Machine, bundle: Bundle, files: EngineFiles
) -> None:
    with contextlib.closing(TrtEngine(bundle, files)) as engine:
        live(engine)
    assert ('cudaMemcpyAsync' in machine.calls) != machine.is_integrated
    assert ('cudaHostGetDevicePointer' in machine.calls) == machine.is_integrated


@pytest.mark.parametrize('steps', ['', 'w', 'i', 'wi', 'iw', 'wwii', 'c', 'wc', 'ic', 'wcc'])
def test_an_engine_can_be_closed_at_any_time_and_once_more(
    machine: Machine, bundle: Bundle, files: EngineFiles, steps: str
) -> None:
    engine = TrtEngine(bundle, files)
    does: dict[str, Callable[[], object]] = {
        'w': engine.warm_up,
        'i': lambda: engine.infer(IMAGES[:2]),
        'c': engine.close,
    }
    for step in steps:
        does[step]()
    engine.close()
    check(machine)
    engine.close()
    for late in ('w', 'i'):
        with pytest.raises(EngineError, match='engine is closed; open it again'):
            does[late]()
    assert engine.describe()['batch'] == '1 to 2'
    check(machine)


def test_any_thread_scores_and_closes_on_the_second_gpu(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = emulate(monkeypatch, 'tensorrt', devices=2)
    files, _ = build_engine(bundle, cache=tmp_path, device=1)
    assert files.identity.target['gpu'] == 'Emulated 1'
    made: list[TrtEngine] = []
    found: list[list[float]] = []

    def do(work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    do(lambda: made.append(TrtEngine(bundle, files, device=1)))
    do(lambda: made[0].warm_up())
    do(lambda: found.append(scores(made[0])))
    do(lambda: made[0].close())
    assert found == [pytest.approx(scores(OrtEngine(bundle)), rel=1e-4)]
    check(machine)


def test_what_is_not_capturable_is_enqueued_and_scores_the_same(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = emulate(monkeypatch)
    machine.is_capturable = False
    files, _ = build_engine(bundle, cache=tmp_path)
    with contextlib.closing(TrtEngine(bundle, files)) as engine:
        live(engine)
        assert engine.describe()['cuda_graph'] == 'no'
        assert 'cudaStreamBeginCapture' not in machine.calls
        assert scores(engine) == pytest.approx(scores(OrtEngine(bundle)), rel=1e-4)
    del engine
    check(machine)


def test_kernels_are_compiled_once_and_again_where_their_file_is_damaged(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = emulate(monkeypatch)
    files, _ = build_engine(bundle, options=BuildOptions(batch=(1, 2, 3)), cache=tmp_path)

    def compiled() -> int:
        machine.compiled.clear()
        with contextlib.closing(TrtEngine(bundle, files)) as engine:
            engine.warm_up()
        return len(machine.compiled)

    assert compiled() == 6  # two parts, each for 1, 2 and 3 pictures
    kept = sorted(files.folder.glob('kernels.*.cache'))
    assert [path.name for path in kept] == [
        f'kernels.{k}.Emulated-0-8.7-12.6.cache' for k in range(2)
    ]
    assert compiled() == 0
    written = [path.stat().st_mtime_ns for path in kept]
    assert compiled() == 0
    assert [path.stat().st_mtime_ns for path in kept] == written
    kept[0].write_bytes(b'damaged')
    assert compiled() == 3
    assert compiled() == 0
    check(machine)


def test_an_engine_of_another_version_is_refused_with_the_command_that_mends_it(
    machine: Machine, bundle: Bundle, files: EngineFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ros_ood_monitor.engines import trt_engine

    plan = files.plan('backbone')
    monkeypatch.setattr(EngineFiles, 'plan', lambda *_: plan[:24] + b'\x09' + plan[25:])
    with pytest.raises(EngineError, match=r'(VERSION_MISMATCH|built by tensorrt 9\.).* --force'):
        trt_engine.TrtEngine(bundle, files)
    check(machine)


def test_auto_takes_what_is_built_and_onnxruntime_where_it_does_not_open(
    machine: Machine, bundle: Bundle, files: EngineFiles
) -> None:
    library = files.identity.library
    with contextlib.closing(open_engine(bundle, cache=files.folder.parent)) as engine:
        assert engine.describe()['engine'] == library
    del engine
    for fails in ('cudaMalloc', 'Context'):
        machine.fail_at(0)
        open_engine(bundle, cache=files.folder.parent).close()
        name = next(name for name in machine.calls if fails in name)
        machine.fail_at(1 + machine.calls.index(name))
        facts = open_engine(bundle, cache=files.folder.parent).describe()
        assert facts['engine'] == 'onnxruntime'
        assert f'not {library}: ' in facts['chosen']
    check(machine)


def test_a_monitor_is_left_as_it_was_by_an_engine_that_fails_once(
    machine: Machine, bundle: Bundle, files: EngineFiles
) -> None:
    with contextlib.closing(TrtEngine(bundle, files)) as engine:
        monitor = Monitor(bundle, engine)
        monitor.warm_up()
        assert monitor.verify().ok
        before = monitor.observe(Frame(IMAGES[0]))
        machine.fail_at(1 + ['cudaSetDevice', 'cudaGraphLaunch'].index('cudaGraphLaunch'))
        with pytest.raises(EngineError, match='CUDA failed while running the engine'):
            monitor.observe(Frame(IMAGES[0]))
        assert monitor.state == before.alert
        assert monitor.observe(Frame(IMAGES[0])).raw_score == before.raw_score
    del engine, monitor
    check(machine)
