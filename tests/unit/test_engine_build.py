"""Real engines: TensorRT for RTX builds on a CPU, so what is built here is what robots get."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')

from ros_ood_monitor.bundle import Bundle, precision_files, write_bundle
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.engines import build
from ros_ood_monitor.engines.build import build_engine, build_plan, BuildOptions
from ros_ood_monitor.engines.cuda import Device
from ros_ood_monitor.engines.trt_engine import load_plan, plan_version
from ros_ood_monitor.engines.trt_library import load_library, make_log
from ros_ood_monitor.errors import BundleError, EngineError
from tests.tiny_bundle import make_tiny_bundle

SHIPPED = Path(__file__).resolve().parents[2] / 'models' / 'lunar_orbit'
RTX = load_library('tensorrt_rtx')


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp('bundle') / 'tiny'
    return make_tiny_bundle(folder, precisions=('fp32', 'fp16', 'cpu-int8', 'trt-int8'))


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_the_shipped_bundle_builds_and_the_same_again_gives_the_same_bytes(
    precision: str,
) -> None:
    bundle = Bundle.load(SHIPPED)
    graph = bundle.backbone()
    if precision == 'fp16':
        pytest.importorskip('onnx')
        convert = pytest.importorskip('ros_ood_monitor.training.precisions').convert
        graph = convert(graph, 'fp16', calibration_images=bundle.goldens().image)
    plan = build_plan(graph, RTX, part='backbone', options=BuildOptions())
    first, again = plan.content, build_plan(graph, RTX, part='backbone', options=BuildOptions())
    assert plan == again
    assert plan.layers >= 90
    assert plan.tensors['image'] == (1, 224, 224, 3)
    assert plan_version(first) == tuple(int(part) for part in RTX.version.split('.')[:3])
    assert (0.4 if precision == 'fp16' else 0.9) < len(first) / len(bundle.backbone()) < 1.1


def test_an_engine_is_built_once_and_knows_what_it_is_for(tiny: Bundle, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    options = BuildOptions(batch=(1, 2, 3))
    files, is_new = build_engine(
        tiny, cache=tmp_path, options=options, on_progress=lambda *about: told.append(about)
    )
    assert is_new
    identity = files.identity
    assert (identity.library, identity.version) == ('tensorrt_rtx', RTX.version)
    assert identity.precision == 'fp16'  # though it is not the bundle's first one
    assert identity.options['batch'] == [1, 2, 3]
    assert identity.onnx == {
        'backbone': tiny.manifest.digests['backbone.fp16.onnx'],
        'scorer': tiny.manifest.digests['scorer.onnx'],
    }
    assert files.about['bundle_digest'] == tiny.digest
    assert {what for what, _ in told} == {'backbone', 'scorer'}
    assert all(0.0 <= share <= 1.0 for _, share in told)
    assert told[-1] == ('scorer', 1.0)
    same, is_new = build_engine(tiny, cache=tmp_path, options=options)
    assert (same, is_new) == (files, False)
    _, is_new = build_engine(tiny, cache=tmp_path, options=options, force=True)
    assert is_new
    other, is_new = build_engine(tiny, cache=tmp_path)
    assert is_new
    assert other.folder != files.folder


def test_an_engine_of_which_a_plan_is_damaged_is_built_again(tiny: Bundle, tmp_path: Path) -> None:
    for damage in (lambda plan: plan.write_bytes(plan.read_bytes()[:-1]), Path.unlink):
        files, _ = build_engine(tiny, cache=tmp_path)
        damage(files.folder / 'scorer.plan')
        again, is_new = build_engine(tiny, cache=tmp_path)
        assert is_new
        assert again.is_whole


def test_a_folder_that_cannot_be_written_is_told_before_a_library_has_worked_for_minutes(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'file').write_text('')
    monkeypatch.setattr(build, 'build_plan', lambda *_args, **_more: pytest.fail('it was built'))
    with pytest.raises(EngineError, match=r'cannot be written: .*; give --cache: '):
        build_engine(tiny, cache=tmp_path / 'file')


@pytest.mark.filterwarnings('ignore:.*Timing cache operations are no-ops:DeprecationWarning')
@pytest.mark.parametrize('name', ['tensorrt', 'tensorrt_rtx'])
def test_the_gpu_that_was_named_is_the_one_that_is_built_on_and_told(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """RTX plays tensorrt, which has the same calls; two GPUs are answered for, none is there."""
    done: list[Any] = []
    gpus = [
        Device(k, f'GPU {k}', f'8.{k}', '12.6', 8000, 16, is_integrated=False) for k in range(2)
    ]

    def make_builder(log: Any) -> Any:
        done.append('builder')
        return real(log)

    real = RTX.module.Builder
    choose = SimpleNamespace(cudaSetDevice=lambda index: (0, done.append(index))[:1])
    monkeypatch.setattr(RTX.module, 'Builder', make_builder)
    monkeypatch.setattr(build, 'load_library', lambda _: dataclasses.replace(RTX, name=name))
    monkeypatch.setattr(build, 'find_device', lambda index=0: gpus[index])
    monkeypatch.setattr(build, 'cudart', lambda: choose)
    files, _ = build_engine(tiny, library=name, device=1, cache=tmp_path)
    assert done == [1, 'builder', 'builder']
    about = {key: files.about[key] for key in ('gpu', 'compute_capability', 'driver')}
    assert about == {'gpu': 'GPU 1', 'compute_capability': '8.1', 'driver': '12.6'}
    assert (files.identity.target == {'compute_capabilities': 'portable'}) is (name == RTX.name)
    timings = [path.name for path in tmp_path.glob('timing.*')]
    kept = f'timing.tensorrt-{RTX.version}-GPU-1-8.1-7-GiB-16-SM.cache'
    assert timings == ([kept] if name == 'tensorrt' else [])
    assert files.mend.endswith(f'--device 1 --cache {tmp_path} --force')


def test_rtx_builds_without_a_gpu_but_not_for_one_that_is_not_among_those_there(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(index: int = 0) -> Device:
        if index:
            msg = f'there is no GPU {index}: expected one of [0]'
            raise EngineError(msg)
        return Device(0, 'L4', '8.9', '12.6', 22000, 58, is_integrated=False)

    def none(index: int = 0) -> Device:
        msg = f'there is no GPU {index}: expected one of []'
        raise EngineError(msg)

    monkeypatch.setattr(build, 'find_device', one)
    with pytest.raises(EngineError, match=r'there is no GPU 99: expected one of \[0\]'):
        build_engine(tiny, device=99, cache=tmp_path)
    monkeypatch.setattr(build, 'find_device', none)
    files, _ = build_engine(tiny, device=99, cache=tmp_path)
    assert 'driver' not in files.about


def test_compute_capabilities_are_a_set(tiny: Bundle, tmp_path: Path) -> None:
    named = [('8.6', '8.6'), ('8.6',), ('8.9', '8.6'), ('8.6', '8.9')]
    made = [
        build_engine(tiny, cache=tmp_path, options=BuildOptions(compute_capabilities=each))
        for each in named
    ]
    assert [is_new for _, is_new in made] == [True, False, True, False]
    targets = [files.identity.target['compute_capabilities'] for files, _ in made]
    assert targets == ['8.6', '8.6', '8.6 8.9', '8.6 8.9']


def test_a_map_goes_to_the_scorer_in_its_size_and_one_number_of_pictures_is_fixed(
    tmp_path: Path,
) -> None:
    bundle = make_tiny_bundle(tmp_path / 'tiny', maps=True, precisions=('fp32', 'fp16'))
    for precision in ('fp32', 'fp16'):
        for batch, count in (((1, 1, 1), 1), ((2, 2, 2), 2), ((1, 1, 2), -1)):
            files, _ = build_engine(
                bundle, cache=tmp_path, precision=precision, options=BuildOptions(batch=batch)
            )
            assert files.about['tensors'] == {
                'image': [count, 32, 48, 3],
                'blocks_0': [count, 8],
                'blocks_1': [count, 12],
                'blocks_1_map': [count, 8, 12, 12],
                'raw_score': [count],
                'patch_score': [count, 8, 12],
            }


def test_a_size_that_nothing_gives_is_refused(tmp_path: Path) -> None:
    scorer = make_tiny_bundle(tmp_path / 'tiny', maps=True).scorer()
    with pytest.raises(EngineError, match=r"only the batch may be dynamic: input 'blocks_1_map'"):
        build_plan(scorer, RTX, part='scorer', options=BuildOptions())


def test_a_bundle_that_changed_is_built_anew(tiny: Bundle, tmp_path: Path) -> None:
    build_engine(tiny, cache=tmp_path / 'cache')
    changed = make_tiny_bundle(tmp_path / 'other', precisions=('fp32', 'fp16'), width=40)
    _, is_new = build_engine(changed, cache=tmp_path / 'cache')
    assert is_new


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'precision': 'trt-int8'}, r"tensorrt_rtx does not run 'trt-int8': expected one of"),
        ({'precision': 'cpu-int8'}, r"does not run 'cpu-int8'"),
        ({'library': 'openvino'}, r"library is unknown: .* got 'openvino'"),
        ({'options': BuildOptions(batch=(2, 1, 4))}, 'MIN <= OPT <= MAX, got 2 1 4'),
        ({'options': BuildOptions(workspace_mib=-1)}, 'at least 0 MiB, got -1'),
        ({'options': BuildOptions(compute_capabilities=('8.7',))}, r"for 8\.7: expected .*'8\.6'"),
    ],
)
def test_what_cannot_be_built_is_refused(
    tiny: Bundle, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        build_engine(tiny, cache=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_precision_that_the_bundle_lacks_is_refused(tiny: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no precision 'bf16'"):
        build_engine(tiny, cache=tmp_path, precision='bf16')


def test_a_bundle_that_the_library_cannot_run_says_how_to_train_it(tmp_path: Path) -> None:
    whole = make_tiny_bundle(tmp_path / 'whole', precisions=('fp32', 'cpu-int8'))
    manifest = {**whole.manifest.raw, 'precisions': ['cpu-int8']}
    names = ('scorer.onnx', *precision_files('cpu-int8'))
    files = {name: whole.read(name) for name in names}
    only = write_bundle(tmp_path / 'tiny', manifest=manifest, files=files)
    with pytest.raises(EngineError, match=r'none of the precisions .* train with --precisions'):
        build_engine(only, cache=tmp_path / 'cache')


def test_a_graph_that_the_library_refuses_is_told_with_its_reason() -> None:
    with pytest.raises(EngineError, match=r'tensorrt_rtx \S+ refuses the scorer: .*\w'):
        build_plan(b'no graph', RTX, part='scorer', options=BuildOptions())


def test_an_interrupt_stops_a_build_and_leaves_nothing(tiny: Bundle, tmp_path: Path) -> None:
    def interrupt(what: str, share: float) -> None:
        if share > 0.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(tiny, cache=tmp_path, on_progress=interrupt)
    assert not list(tmp_path.rglob('*.plan'))


def test_tensorrt_itself_is_missed_by_name_with_the_ways_to_get_it(
    tiny: Bundle, tmp_path: Path
) -> None:
    if importlib.util.find_spec('tensorrt') is not None:
        pytest.skip('tensorrt is installed')
    with pytest.raises(EngineError, match=r'tensorrt is not installed .*JetPack .*pip install'):
        build_engine(tiny, cache=tmp_path, library='tensorrt')


@pytest.mark.parametrize('plan', [b'', b'no plan' * 100])
def test_what_is_no_plan_is_refused_with_the_command_that_mends_it(plan: bytes) -> None:
    log = make_log(RTX)
    with pytest.raises(EngineError, match='ood_monitor build-engine --force'):
        load_plan(plan, RTX, RTX.module.Runtime(log), log)


@pytest.mark.parametrize(
    ('reason', 'expected'),
    [
        ('UNSUPPORTED_CC', 'does not run on this GPU: take another engine'),
        ('OLD_CUDA_DRIVER', r'update the driver \('),
        ('INSUFFICIENT_GPU_MEMORY', 'end other programs that use the GPU'),
        ('CUDA_ERROR', 'look at nvidia-smi and dmesg'),
        ('VERSION_MISMATCH', 'build it on this device: the command'),
        ('MALFORMED_ENGINE', 'build it on this device: the command'),
    ],
)
def test_building_again_is_told_only_where_it_mends_what_the_library_refuses(
    reason: str, expected: str
) -> None:
    trt = RTX.module
    flags = int(trt.EngineInvalidityDiagnostics.__members__[reason].value)
    answer = (trt.EngineValidity.INVALID, flags)
    loader = SimpleNamespace(get_engine_validity=lambda _: answer)
    with pytest.raises(EngineError, match=rf'not valid on this device: {reason}; .*{expected}'):
        load_plan(b'a plan', RTX, loader, make_log(RTX), mend='the command')


@pytest.mark.parametrize(
    ('said', 'message'),
    [
        ('Error Code 2: OutOfMemory (Requested size was 9 bytes.)', 'want of memory: .*end other'),
        ('Error Code 6: wrong version', r'built by tensorrt \S+ this is .*: the command'),
    ],
)
def test_an_engine_that_does_not_load_for_want_of_memory_need_not_be_built_again(
    said: str, message: str
) -> None:
    log = make_log(RTX)

    def fail(_plan: bytes) -> None:
        log.log(RTX.module.ILogger.Severity.ERROR, said)

    loader = SimpleNamespace(deserialize_cuda_engine=fail)
    library = dataclasses.replace(RTX, name='tensorrt')
    with pytest.raises(EngineError, match=f'engine does not load.*{message}'):
        load_plan(bytes(32), library, loader, log, mend='the command')


def test_the_command_builds_says_where_and_what_it_could_not_verify(
    tiny: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ['build-engine', str(tiny.path), '--cache', str(tmp_path)]
    assert main(command) == 0
    said = capsys.readouterr()
    assert 'tensorrt_rtx' in said.out
    assert 'built in' in said.out
    assert ('not verified here: ' in said.out) or ('engine reproduces' in said.out)
    assert said.err.splitlines() == ['building the backbone', 'building the scorer']
    (folder,) = tmp_path.iterdir()
    assert f'engine: {folder}' in said.out
    facts = json.loads((folder / 'facts.json').read_text())
    assert facts['library'] == 'tensorrt_rtx'
    assert main(command) == 0
    assert f'built {facts["about"]["built"]} already' in capsys.readouterr().out
    facts['about'] = {}
    (folder / 'facts.json').write_text(json.dumps(facts))
    assert main(command) == 0
    assert 'already' in capsys.readouterr().out
