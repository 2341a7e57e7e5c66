"""Real engines: TensorRT for RTX builds on a CPU, so what is built here is what robots get."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')

from ros_ood_monitor.bundle import Bundle, precision_files, write_bundle
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.engines.build import build_engine, build_plan, BuildOptions
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
    assert plan.tensors['image'] == (-1, 224, 224, 3)
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


def test_a_map_goes_from_backbone_to_scorer_in_the_size_that_the_input_gives(
    tmp_path: Path,
) -> None:
    bundle = make_tiny_bundle(tmp_path / 'tiny', maps=True, precisions=('fp32', 'fp16'))
    for precision in ('fp32', 'fp16'):
        files, _ = build_engine(bundle, cache=tmp_path, precision=precision)
        assert files.about['tensors'] == {
            'image': [-1, 32, 48, 3],
            'blocks_0': [-1, 8],
            'blocks_1': [-1, 12],
            'blocks_1_map': [-1, 8, 12, 12],
            'raw_score': [-1],
            'patch_score': [-1, 8, 12],
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
    assert 'already' in capsys.readouterr().out
