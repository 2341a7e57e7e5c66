"""What `tests.bench.gpu` measures, part by part; each writes down what it has found at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import functools
import importlib
import json
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.engines.build import build_engine, BuildOptions, PRECISIONS
from ros_ood_monitor.engines.cache import EngineFiles
from ros_ood_monitor.engines.cuda import call, cudart, find_device
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.engines.trt_engine import TrtEngine
from ros_ood_monitor.engines.trt_library import load_library
from ros_ood_monitor.evaluation.speed.benchmark import benchmark
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.parity import parity
from ros_ood_monitor.evaluation.speed.timing import Call, interleave, summary
from ros_ood_monitor.evaluation.tables import write_text
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Frame
from tests.bench import batches

ROOT: Final = Path(__file__).resolve().parents[2]
COUNTS: Final = (1, 8)
MODULES: Final = ('torch', 'cuda.bindings', 'tensorrt', 'tensorrt_rtx', 'onnxruntime', 'onnx')
_ROUNDS: Final = 30
_HOW_OFTEN: Final = {'rounds': _ROUNDS, 'burst': 10, 'warm_up': 10}
_CALLS: Final = 200


class Found(dict[str, Any]):
    """What a part knows; on disk as soon as it is known, whatever happens next."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._path.write_text(json.dumps(self), encoding='utf-8')

    @contextlib.contextmanager
    def trying(self, key: str) -> Iterator[None]:
        """Write down why a step failed, and go on with the next one."""
        try:
            yield
        except Exception as error:  # noqa: BLE001, whatever a library raises is a finding
            self[f'{key}: failure'] = f'{type(error).__name__}: {error}'


def machine(found: Found, _bundle: Path, _folder: Path) -> None:
    """Tell the GPU, its driver, and which libraries load."""
    asked = 'name,driver_version,memory.total,compute_cap'
    with found.trying('nvidia-smi'):
        found['nvidia-smi'] = subprocess.run(
            ['nvidia-smi', f'--query-gpu={asked}', '--format=csv'],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
    with found.trying('device'):
        found['device'] = vars(find_device())
    for name in MODULES:
        with found.trying(name):
            found[name] = str(getattr(importlib.import_module(name), '__version__', 'loads'))
    with found.trying('providers'):
        found['providers'] = importlib.import_module('onnxruntime').get_available_providers()


def tests(found: Found, _bundle: Path, _folder: Path) -> None:
    """Run the tests marked ``gpu``."""
    files = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / 'tests' / 'unit').glob('test_*.py')
        if 'mark.gpu' in path.read_text(encoding='utf-8')
    )
    # warnings of libraries in versions that nobody has seen are no failures here
    options = ['-m', 'gpu', '-q', '-rs', '-W', 'default', '-p', 'no:cacheprovider', '--tb=short']
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', *files, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    found['code'] = done.returncode
    found['last_line'] = (done.stdout.strip().splitlines() or [''])[-1]
    if done.returncode or 'passed' not in found['last_line']:
        msg = f'tests failed, or none ran: {found["last_line"]}'
        raise RuntimeError(msg)


def tensorrt(library: str, found: Found, path: Path, folder: Path) -> None:
    """Build, prove and measure an engine of each precision that a library runs."""
    found['library'] = load_library(library).version
    found['device'] = vars(find_device())
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Bundle.load(path)
        with found.trying('conversion'):
            from tests.bench.cpu_engines import in_precisions

            precisions = [p for p in ('fp32', 'fp16') if p in PRECISIONS[library]]
            bundle = in_precisions(bundle, precisions, Path(scratch, 'bundle'))
        for precision in bundle.manifest.precisions:
            with found.trying(precision):
                cache = Path(scratch, precision)
                options = BuildOptions(batch=(1, 1, max(COUNTS)))
                files, _ = build_engine(
                    bundle, library=library, precision=precision, options=options, cache=cache
                )
                found[f'{precision} build_s'] = files.about['build_s']
                with (
                    opened(bundle, files) as engine,
                    opened(bundle, files, capture=False) as plain,
                ):
                    found[precision] = facts_of_engine(bundle, engine, plain)
                    gains = batches.measured(bundle, engine, rounds=_ROUNDS)
                    write_row(folder, f'batches_{library}_{precision}', bundle, gains)
            with found.trying(f'{precision} bench'):
                facts = benchmark(bundle, engine=library, precision=precision, cache=cache)
                write_row(folder, f'engine_{library}_{precision}', bundle, facts)
    if not {'fp32', 'fp16'} & found.keys():
        msg = '; '.join(str(text) for key, text in found.items() if key.endswith('failure'))
        raise RuntimeError(msg)


@contextlib.contextmanager
def opened(bundle: Bundle, files: EngineFiles, *, capture: bool = True) -> Iterator[TrtEngine]:
    """Open a built engine for a while."""
    engine = TrtEngine(bundle, files, capture=capture)
    try:
        engine.warm_up()
        yield engine
    finally:
        engine.close()


def facts_of_engine(bundle: Bundle, engine: TrtEngine, plain: TrtEngine) -> dict[str, Any]:
    """Return parity with the goldens (of fp32, whatever runs), times, and what the GPU works."""
    images = batches.pictures(bundle, engine.precision, max(COUNTS))
    monitor, frame = Monitor(bundle, engine), Frame(images[0])
    calls: dict[str, Call] = {'observe': lambda _: monitor.observe(frame)}
    for count in COUNTS:
        batch = images[:count]
        calls[f'replayed {count}'] = lambda _, batch=batch: engine.infer(batch)
        calls[f'enqueued {count}'] = lambda _, batch=batch: plain.infer(batch)
    times = {name: summary(t) for name, t in interleave(calls, **_HOW_OFTEN).items()}
    shares = {}
    for count in COUNTS:
        own = execution_ms(engine, count)
        whole = times[f'replayed {count}']['p50']
        shares[str(count)] = {'gpu_ms': own, 'share_outside': 1.0 - own / whole}
    return {
        'engine': engine.describe(),
        'parity': parity(bundle, engine, bundle.verify(engine, engine.precision)),
        'times_ms': times,
        'execution': shares,
    }


def execution_ms(engine: TrtEngine, count: int) -> float:
    """Return the median time from a captured call's first copy to its last, as the GPU has it."""
    runtime, stream, graph = cudart(), engine._stream, engine._graphs[count]
    if graph is None:
        msg = f'a call with {count} pictures was not captured'
        raise RuntimeError(msg)
    ends = [call(runtime.cudaEventCreate, doing='making an event') for _ in range(2)]
    found = []
    for _ in range(_CALLS):
        call(runtime.cudaEventRecord, ends[0], stream, doing='measuring')
        call(runtime.cudaGraphLaunch, graph, stream, doing='measuring')
        call(runtime.cudaEventRecord, ends[1], stream, doing='measuring')
        call(runtime.cudaEventSynchronize, ends[1], doing='measuring')
        found.append(float(call(runtime.cudaEventElapsedTime, *ends, doing='measuring')))
    for end in ends:
        runtime.cudaEventDestroy(end)
    return float(np.median(found))


def onnxruntime(engine_name: str, found: Found, path: Path, folder: Path) -> None:
    """Measure ONNX Runtime on one of its providers."""
    bundle = Bundle.load(path)
    with tempfile.TemporaryDirectory() as scratch:  # one of them keeps what it builds
        cache = Path(scratch)
        engine = open_engine(bundle, engine_name, cache=cache)
        engine.warm_up()
        found['parity'] = parity(bundle, engine, bundle.verify(engine))
        is_cpu = engine.describe()['device'] == 'cpu'
        facts = batches.measured(bundle, engine, rounds=3 if is_cpu else _ROUNDS)
        found['times_ms'] = facts['times_ms']
        found['one_call_of_single_calls'] = facts['one_call_of_single_calls']
        if not is_cpu:
            write_row(folder, f'batches_{engine_name}', bundle, facts)
            facts = benchmark(bundle, engine=engine_name, cache=cache)
            write_row(folder, f'engine_{engine_name}', bundle, facts)


def torch(found: Found, path: Path, _folder: Path) -> None:
    """Measure the backbone in PyTorch, each call anew and as a CUDA graph: the yardstick."""
    import torch as library

    from tests.bench.torch_graph import TorchGraph

    bundle = Bundle.load(path)
    images = batches.pictures(bundle, bundle.precision(None), max(COUNTS))
    wanted = features(bundle, images)
    found['device'] = library.cuda.get_device_name()
    library.backends.cudnn.benchmark = True
    for name, half, tf32 in (('fp32', False, False), ('tf32', False, True), ('fp16', True, False)):
        library.backends.cudnn.allow_tf32 = library.backends.cuda.matmul.allow_tf32 = tf32
        for count in COUNTS:
            with found.trying(f'{name} {count}'):
                graph = TorchGraph(bundle.backbone(), device='cuda', half=half)
                found[f'{name} {count}'] = times_of_torch(graph, images[:count], wanted)


def features(bundle: Bundle, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
    """Return what ONNX Runtime computes on the CPU, by output."""
    session = open_session(bundle.backbone())
    names = [output.name for output in session.get_outputs()]
    made: list[npt.NDArray[np.float32]] = session.run(names, {'image': images})
    return made


def times_of_torch(graph: Any, images: npt.NDArray[np.uint8], wanted: list[Any]) -> Any:
    """Return times of a call with its copies, the GPU's own share, and the worst feature."""
    import torch as library

    stream = library.cuda.Stream()
    sent = library.from_numpy(images).pin_memory()
    image = sent.cuda()
    with library.cuda.stream(stream):
        for _ in range(5):
            made = graph(image)
    stream.synchronize()
    back = [each.cpu().pin_memory() for each in made]
    captured = library.cuda.CUDAGraph()
    with library.cuda.graph(captured, stream=stream):
        image.copy_(sent, non_blocking=True)
        for kept, each in zip(back, graph(image), strict=True):
            kept.copy_(each, non_blocking=True)
    ends = [library.cuda.Event(enable_timing=True) for _ in range(2)]

    def plain(_: int) -> None:
        with library.cuda.stream(stream):
            image.copy_(sent, non_blocking=True)
            for kept, each in zip(back, graph(image), strict=True):
                kept.copy_(each, non_blocking=True)
        stream.synchronize()

    def replayed(_: int) -> None:
        with library.cuda.stream(stream):
            captured.replay()
        stream.synchronize()

    own = []
    for _ in range(_CALLS):
        with library.cuda.stream(stream):
            ends[0].record()
            captured.replay()
            ends[1].record()
        stream.synchronize()
        own.append(ends[0].elapsed_time(ends[1]))
    # not beside each other: the one keeps the CPU busy, the other the GPU
    times = {
        name: summary(interleave({name: each}, **_HOW_OFTEN)[name])
        for name, each in (('replayed', replayed), ('plain', plain))
    }
    replayed(0)
    worst = max(
        float(np.abs(got.numpy() - right[: len(images)]).max() / np.abs(right).max())
        for got, right in zip(back, wanted, strict=True)
    )
    gpu_ms = float(np.median(own))
    return {
        'times_ms': times,
        'gpu_ms': gpu_ms,
        'share_outside': 1.0 - gpu_ms / times['replayed']['p50'],
        'largest_feature_error': worst,
    }


def write_row(folder: Path, name: str, bundle: Bundle, facts: dict[str, Any]) -> None:
    """Write a file of which the documentation makes a row."""
    about = {'name': bundle.manifest.name, 'digest': bundle.digest}
    text = json.dumps({'bundle': about, 'context': context(), **facts}, indent=1) + '\n'
    write_text(folder / f'{name}.json', text)


class Part(NamedTuple):
    """A part and the longest time that it gets."""

    measure: Callable[[Found, Path, Path], None]
    at_most_s: float

    def run(self, bundle: Path, found: Path, folder: Path) -> None:
        """Measure; what is found lies in the file ``found``."""
        self.measure(Found(found), bundle, folder)


PARTS: Final = {
    'machine': Part(machine, 60.0),
    'tests': Part(tests, 120.0),
    'tensorrt': Part(functools.partial(tensorrt, 'tensorrt'), 240.0),
    'tensorrt_rtx': Part(functools.partial(tensorrt, 'tensorrt_rtx'), 120.0),
    'torch': Part(torch, 90.0),
    'onnxruntime-cuda': Part(functools.partial(onnxruntime, 'onnxruntime-cuda'), 90.0),
    'onnxruntime-tensorrt': Part(functools.partial(onnxruntime, 'onnxruntime-tensorrt'), 120.0),
    'onnxruntime': Part(functools.partial(onnxruntime, 'onnxruntime'), 60.0),
}
"""In the order of what is missed most where time runs out."""
