"""The backbone study: what is fitted is never tested, nothing is learnt from the test."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

import json
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')

from ros_ood_monitor.cli.main import main
from ros_ood_monitor.errors import OodMonitorError, ParameterError, TrainingError
from ros_ood_monitor.images import image_files
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.training.study.detectors import DETECTORS, Detectors, separate
from ros_ood_monitor.training.study.labelled import list_pictures, split_parts
from ros_ood_monitor.training.study.study import FIT_SHARE, Study, study_backbones

FACTS = 'mean: [127.5, 127.5, 127.5]\nstd: [64, 64, 64]\ncolor: rgb\nlayout: nchw\n'


@pytest.fixture(scope='module')
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two convolutions of random weights with an output each, for pictures of 32 x 32."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> Any:
        values = rng.normal(0, 0.3, shape).astype(np.float32)
        return onnx.numpy_helper.from_array(values, name)

    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            node('Conv', ['pixels', 'w1', 'b1'], ['c1'], strides=[4, 4]),
            node('Relu', ['c1'], ['early']),
            node('Conv', ['early', 'w2', 'b2'], ['c2'], strides=[2, 2]),
            node('Relu', ['c2'], ['late']),
        ],
        'tiny',
        [value('pixels', onnx.TensorProto.FLOAT, ['N', 3, 32, 32])],
        [
            value('early', onnx.TensorProto.FLOAT, ['N', 8, 8, 8]),
            value('late', onnx.TensorProto.FLOAT, ['N', 6, 4, 4]),
        ],
        [weight('w1', 8, 3, 4, 4), weight('b1', 8), weight('w2', 6, 8, 2, 2), weight('b2', 6)],
    )
    opset = [onnx.helper.make_opsetid('', 18)]
    file = tmp_path_factory.mktemp('network') / 'tiny.onnx'
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), file)
    file.with_name('tiny.onnx.yaml').write_text(FACTS)
    return f'onnx:{file}'


def write(folder: Path, count: int, tint: tuple[int, int, int], *, seed: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for k in range(count):
        level = np.array(tint) * rng.uniform(0.7, 1.3) + rng.normal(0, 12, (32, 32, 3))
        assert cv2.imwrite(str(folder / f'{k}.png'), np.clip(level, 0, 255).astype(np.uint8))
    return folder


@pytest.fixture(scope='module')
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 10, 8 and 1 pictures."""
    root = tmp_path_factory.mktemp('known')
    write(root / 'red', 10, (40, 60, 180), seed=1)
    write(root / 'green', 8, (60, 170, 50), seed=2)
    write(root / 'grey', 1, (100, 100, 100), seed=3)
    return root


@pytest.fixture(scope='module')
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some between the classes, some far from them: neither detector separates all."""
    root = tmp_path_factory.mktemp('ood') / 'blue'
    write(root / 'between', 3, (75, 110, 90), seed=4)
    write(root / 'far', 4, (190, 40, 30), seed=5)
    return root


@pytest.fixture(scope='module')
def study(network: str, classes: Path, strange: Path) -> Study:
    return study_backbones(classes, [strange], [network], splits=3, seed=5)


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def by_hand(network: str, folder: Path, tap: int) -> npt.NDArray[np.float64]:
    """Directions of a folder's pictures from the unchanged network."""
    from ros_ood_monitor.images import read_image
    from ros_ood_monitor.training.backbones import load_backbone

    backbone = load_backbone(network)
    pictures = np.stack([read_image(file) for file in image_files(folder)])
    features = backbone.features(backbone.taps, pictures)[tap].astype(np.float64)
    directions: npt.NDArray[np.float64] = features / np.linalg.norm(
        features, axis=1, keepdims=True
    )
    return directions


def test_every_tap_is_a_point_with_its_geometry(study: Study, network: str, classes: Path) -> None:
    assert [(p.tap, p.channels, p.deepest) for p in study.points] == [
        ('early', 8, False),
        ('late', 6, True),
    ]
    labels = np.array([file.parent.name for file in image_files(classes)])
    for k, point in enumerate(study.points):
        directions = by_hand(network, classes, k)
        cosine = directions @ directions.T
        within = []
        for label in ('red', 'green'):
            block = cosine[np.ix_(labels == label, labels == label)]
            within.append(block[np.triu_indices(len(block), 1)].mean())
        potential = np.exp(-2.0 * (2.0 - 2.0 * cosine[np.triu_indices(len(cosine), 1)]))
        assert point.tolerance == pytest.approx(np.mean(within), abs=1e-5)
        assert point.uniformity == pytest.approx(-np.log(potential.mean()), abs=1e-5)


def test_auroc_is_that_of_pictures_that_were_not_fitted_to(
    study: Study, network: str, classes: Path, strange: Path
) -> None:
    known, other = by_hand(network, classes, 0), by_hand(network, strange, 0)
    labels = list_pictures(classes, labelled=True).labels
    found = study.points[0].separation['distance_to_mean']['blue']
    for k in range(3):
        fit, test = split_parts(labels, share=FIT_SHARE, seed=5 + k)
        mean = known[fit].mean(axis=0)
        expected = auroc(
            np.linalg.norm(known[test] - mean, axis=1), np.linalg.norm(other - mean, axis=1)
        )
        assert found.auroc[k] == pytest.approx(expected, abs=1e-9)
        assert 0.05 < expected < 0.95  # else any pictures would do
    assert study.splits == [(14, 5)] * 3


def test_mahalanobis_equals_scikit_learns() -> None:
    covariance = pytest.importorskip('sklearn.covariance', reason='the oracle of this test')
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 9)).astype(np.float32)
    other = rng.normal(1, 2, size=(20, 9)).astype(np.float32)
    oracle = covariance.LedoitWolf().fit(rows.astype(np.float64))
    scores = Detectors(rows)(other)
    np.testing.assert_allclose(
        scores['mahalanobis'] ** 2, oracle.mahalanobis(other.astype(np.float64)), rtol=1e-6
    )


def test_a_detector_that_is_the_wrong_way_round_stays_so() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=(80, 4)).astype(np.float32)
    centre = (0.01 * rng.normal(size=(30, 4))).astype(np.float32)
    found = separate([(Detectors(known[:50]), known[50:], {'centre': centre})])
    for name in DETECTORS:
        assert found[name]['centre'].auroc[0] < 0.05


@pytest.mark.parametrize('seed', range(4))
def test_parts_share_no_picture_and_both_hold_every_class_of_two(seed: int) -> None:
    labels = np.array([0] * 2 + [1] * 3 + [2] * 20 + [3] + [4] + [5], dtype=np.int64)
    fit, test = split_parts(labels, share=0.7, seed=seed)
    assert not set(fit) & set(test)
    assert sorted([*fit, *test]) == list(range(len(labels)))
    for label in (0, 1, 2):
        assert label in labels[fit]
        assert label in labels[test]
    assert np.count_nonzero(labels[fit] == 2) == 14
    assert np.count_nonzero(labels[test] > 2) == 1  # classes of one picture are drawn together
    again = split_parts(labels, share=0.7, seed=seed)
    np.testing.assert_array_equal(fit, again[0])
    assert list(fit) != list(split_parts(labels, share=0.7, seed=seed + 10)[0])


def test_two_pictures_give_one_for_each_part() -> None:
    for labels in ([0, 0], [0, 1], [-1, -1]):
        fit, test = split_parts(np.array(labels, dtype=np.int64), share=0.99, seed=0)
        assert (len(fit), len(test)) == (1, 1)


def test_pictures_to_fit_to_may_be_a_folder_of_their_own(
    network: str, classes: Path, strange: Path, tmp_path: Path
) -> None:
    fit = write(tmp_path / 'fit', 9, (60, 100, 100), seed=9)
    study = study_backbones(classes, [strange], [network], fit_data=fit, splits=5)
    assert study.splits == [(9, 19)]
    mean = by_hand(network, fit, 1).mean(axis=0)
    known, other = by_hand(network, classes, 1), by_hand(network, strange, 1)
    expected = auroc(np.linalg.norm(known - mean, axis=1), np.linalg.norm(other - mean, axis=1))
    (found,) = study.points[1].separation['distance_to_mean']['blue'].auroc
    assert found == pytest.approx(expected, abs=1e-9)
    assert 0.05 < expected < 0.95


def test_the_command_prints_tables_and_writes_all_figures(
    network: str, classes: Path, strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'study.json'
    words = ['benchmark', '--study', 'tolerance-uniformity', '--data', str(classes)]
    words += ['--ood', str(strange), '--backbones', network, '--quiet', '--out', str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert '19 pictures, 3 classes, 2 of two pictures or more' in said
    assert '14 fitted, 5 tested, 5 splits' in said
    assert 'against blue, 7 pictures' in said
    assert 'higher = more even' in said
    assert 'all (n=2)' in said
    assert 'no significance' in said
    facts = json.loads(out.read_text())
    assert [point['tap'] for point in facts['points']] == ['early', 'late']
    separation = facts['points'][0]['separation']['mahalanobis']['blue']
    assert all(len(separation[key]) == 5 for key in ('auroc', 'fpr95_id_positive'))
    assert facts['folders']['data']['classes_of_two_or_more'] == 2
    assert facts['rank_correlations'][0]['count'] == 2
    assert facts['rank_correlations'][0]['rho'] is None
    assert facts['backbones'][0]['input_size'] == [32, 32]
    assert str(tmp_path) not in json.dumps(facts['folders'])
    first = {key: facts[key] for key in ('points', 'splits', 'folders')}
    assert main(words) == 0
    again = json.loads(out.read_text())
    assert {key: again[key] for key in first} == first


def test_a_flat_folder_has_uniformity_only(
    network: str, strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat, out = write(tmp_path / 'flat', 8, (60, 100, 100), seed=7), tmp_path / 'study.json'
    words = ['benchmark', '--study', 'tolerance-uniformity', '--data', str(flat), '--quiet']
    words += ['--ood', str(strange), '--backbones', network, '--taps', 'late', '--out', str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert 'tolerance needs labels' in said
    (point,) = json.loads(out.read_text())['points']
    assert point['tolerance'] is None
    assert point['uniformity'] > 0.0


def test_repeated_and_broken_files_are_left_out_and_named(classes: Path, tmp_path: Path) -> None:
    root = copy(classes, tmp_path / 'known')
    shutil.copy(root / 'red' / '3.png', root / 'red' / 'copy.png')
    (root / 'green' / 'torn.png').write_bytes((root / 'green' / '0.png').read_bytes()[:200])
    pictures = list_pictures(root, labelled=True)
    assert len(pictures.files) == 19
    assert pictures.repeated == ('red/copy.png',)
    assert [line.split(' (')[0] for line in pictures.skipped] == ['green/torn.png']
    assert pictures.sizes == {'32x32': 19}


def test_limit_keeps_two_of_as_many_classes_as_it_can(tmp_path: Path) -> None:
    for k in range(6):
        write(tmp_path / f'class_{k}', 5, (60, 20 * k, 100), seed=k)

    def counts(limit: int) -> list[int]:
        return np.bincount(list_pictures(tmp_path, limit=limit, labelled=True).labels).tolist()

    assert counts(30) == [5] * 6
    assert counts(20) == [3] * 6
    assert counts(12) == [2] * 6
    assert counts(7) == [2] * 3
    assert len(list_pictures(tmp_path, limit=7).files) == 7


def refused(root: Path, strange: Path, network: str, **options: Any) -> OodMonitorError:
    with pytest.raises(OodMonitorError) as caught:
        study_backbones(root, [strange], [network], **options)
    return caught.value


def test_too_few_classes_are_refused_and_what_is_expected_is_said(
    network: str, strange: Path, tmp_path: Path
) -> None:
    write(tmp_path / 'one' / 'class', 6, (60, 100, 100), seed=1)
    error = refused(tmp_path / 'one', strange, network)
    assert 'expected one folder per class, at least 2 classes of at least 2' in str(error)
    assert 'got 6 pictures in 1 classes' in str(error)
    for k in range(4):
        write(tmp_path / 'single' / f'class_{k}', 1, (60, 100, 100), seed=k)
    assert 'in 4 classes, 0 of them with 2' in str(refused(tmp_path / 'single', strange, network))


def test_pictures_beside_folders_of_classes_are_refused(
    network: str, classes: Path, strange: Path, tmp_path: Path
) -> None:
    root = copy(classes, tmp_path / 'known')
    write(root, 1, (60, 100, 100), seed=1)
    assert 'got 1 of 20 beside the folders' in str(refused(root, strange, network))


def test_a_picture_in_two_roles_is_refused(
    network: str, classes: Path, strange: Path, tmp_path: Path
) -> None:
    other = copy(strange, tmp_path / 'other')
    shutil.copy(classes / 'red' / '0.png', other / 'another_name.png')
    assert '1 pictures are in two folders at once' in str(refused(classes, other, network))
    error = refused(classes, strange, network, fit_data=other)
    assert 'give folders that share none' in str(error)
    with pytest.raises(ParameterError, match='expected different out-of-distribution folders'):
        study_backbones(classes, [strange, strange / '.'], [network])


def test_wrong_backbones_and_taps_are_refused_before_any_work(
    network: str, classes: Path, strange: Path
) -> None:
    assert 'early, late' in str(refused(classes, strange, network, taps=['blocks.5']))
    with pytest.raises(TrainingError):
        study_backbones('/nowhere', [strange], [network, 'no_such_network'])


@pytest.mark.parametrize(
    ('option', 'value'), [('--backbones', 'a,,b'), ('--backbones', 'a,a'), ('--study', 'speed')]
)
def test_wrong_options_are_wrong_usage(option: str, value: str) -> None:
    words = {'--study': 'tolerance-uniformity', '--data': 'd', '--ood': 'o', '--out': 'f.json'}
    words |= {'--backbones': 'a', option: value}
    with pytest.raises(SystemExit) as stop:
        main(['benchmark', *(word for pair in words.items() for word in pair)])
    assert stop.value.code == 2


def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ['benchmark', '--study', 'tolerance-uniformity', '--data', 'd', '--ood', 'o']
    assert main([*words, '--backbones', 'a', '--out', str(tmp_path)]) == 1
    assert 'cannot write file: it is a folder' in capsys.readouterr().err
