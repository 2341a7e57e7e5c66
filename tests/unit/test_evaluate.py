"""Evaluation: the scores are the monitor's, the files are named, the traps are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import re

import cv2
import numpy as np
import pytest

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli import evaluate as verb
from ros_ood_monitor.engines import Engine, open_engine
from ros_ood_monitor.errors import OodMonitorError, ParameterError
from ros_ood_monitor.evaluation.gate import check_gate, Limit
from ros_ood_monitor.evaluation.images import report
from ros_ood_monitor.evaluation.images.evaluate import evaluate, Evaluation
from ros_ood_monitor.evaluation.images.image_sets import find_image_sets
from ros_ood_monitor.images import read_image
from ros_ood_monitor.metrics import auroc, fpr95_id_positive, share_over
from ros_ood_monitor.monitor import Monitor
from tests.tiny_bundle import make_tiny_bundle

SHARED = Path(__file__).resolve().parents[3] / 'shared'


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


@pytest.fixture(scope='module')
def engine(bundle: Bundle) -> Engine:
    return open_engine(bundle)


def _fill(
    folder: Path, count: int, paint: Callable[[np.random.Generator], np.ndarray], suffix: str
) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(folder.name))
    for k in range(count):
        assert cv2.imwrite(str(folder / f'{k}.{suffix}'), paint(rng))
    return folder


def _noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(96, 160, (60, 90, 3), dtype=np.uint8)


def _brighter(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(100, 180, (60, 90, 3), dtype=np.uint8)


def _red(rng: np.random.Generator) -> np.ndarray:
    return np.full((40, 40, 3), (0, 0, rng.integers(200, 256)), dtype=np.uint8)


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise (with a truncated and an empty file), brighter noise, and red pictures."""
    root = tmp_path_factory.mktemp('data')
    _fill(root / 'known', 12, _noise, 'png')
    _fill(root / 'near', 10, _brighter, 'png')
    _fill(root / 'far', 5, _red, 'jpg')
    whole = (root / 'known/0.png').read_bytes()
    (root / 'known/cut.png').write_bytes(whole[: len(whole) // 2])
    (root / 'known/empty.jpg').write_bytes(b'')
    return root


@pytest.fixture(scope='module')
def result(bundle: Bundle, engine: Engine, data: Path) -> Evaluation:
    ood = [data / 'near', data / 'far']
    return evaluate(bundle, engine, images=data / 'known', ood=ood, resamples=50)


def test_scores_equal_what_the_monitor_gives(
    bundle: Bundle, result: Evaluation, data: Path
) -> None:
    monitor = Monitor.from_bundle(bundle)
    for folder in (result.id_folder, *result.ood_folders):
        expected = [
            monitor.observe_image(read_image(folder.path / file), stamp=0.0).raw_score
            for file in folder.files
        ]
        assert folder.raw_score.tolist() == expected


def test_rows_are_the_metrics_of_those_scores(result: Evaluation) -> None:
    near, far = result.rows
    pair = result.id_folder.raw_score, result.ood_folders[0].raw_score
    assert (near.name, near.count) == ('near', 10)
    assert near.auroc == auroc(*pair)
    assert near.fpr95_id_positive == fpr95_id_positive(*pair)
    assert near.auroc_95 is not None
    assert near.auroc_95.low <= near.auroc <= near.auroc_95.high
    assert (far.auroc, far.aupr) == (1.0, 1.0)
    assert (far.fpr95_id_positive, far.fpr95_ood_positive) == (0.0, 0.0)
    assert far.over_trigger == 1.0
    assert result.id_over_trigger == share_over(result.id_folder.raw_score, result.trigger)


def test_corrupt_images_are_skipped_counted_and_named(result: Evaluation) -> None:
    assert len(result.id_folder.files) == 12
    assert [skipped.file for skipped in result.id_folder.skipped] == ['cut.png', 'empty.jpg']
    text = report.to_text(result)
    assert 'known: 2 skipped: cut.png (png truncated' in text


def test_a_file_size_that_gives_the_answer_away_is_shown(result: Evaluation) -> None:
    # flat red JPEGs are smaller than noisy PNGs, every one of them
    assert result.rows[1].file_size_auroc == 0.0
    assert 'picture sizes differ: known mostly 90x60, far mostly 40x40' in report.to_text(result)


def test_in_distribution_images_that_are_none_are_noted(
    bundle: Bundle, engine: Engine, data: Path, result: Evaluation
) -> None:
    swapped = evaluate(bundle, engine, images=data / 'far', ood=[data / 'known'], resamples=1)
    assert swapped.id_over_trigger == 1.0
    assert 'far exceeds the trigger more often than chance' in report.to_text(swapped)
    assert 'more often than chance' not in report.to_text(result)


def test_evaluating_twice_gives_equal_facts(
    bundle: Bundle, engine: Engine, data: Path, result: Evaluation
) -> None:
    ood = [data / 'near', data / 'far']
    again = evaluate(bundle, engine, images=data / 'known', ood=ood, resamples=50)
    assert report.facts(again) == report.facts(result)


def test_json_holds_every_score_and_no_path_of_this_machine(
    result: Evaluation, data: Path
) -> None:
    text = report.to_json(result)
    read = json.loads(text)
    assert read['id_folder']['raw_score']['3.png'] == result.id_folder.raw_score[3]
    assert read['rows'][0]['auroc_95'] == list(result.rows[0].auroc_95 or ())
    assert read['bundle']['digest'] == result.bundle.digest
    assert str(data) not in text


def test_few_pictures_have_no_interval_and_a_note(result: Evaluation) -> None:
    near, far = report.facts(result)['rows']
    assert (near['count'], far['count']) == (10, 5)
    assert len(near['auroc_95']) == len(near['aupr_95']) == 2
    assert (far['auroc_95'], far['aupr_95']) == (None, None)
    short = check_gate(report.facts(result), {'rows.far.auroc_95.low': Limit(least=0.5)})
    assert [one.measured for one in short] == [None]
    text = report.to_text(result)
    assert re.search(r'^far +5 +1\.0000 +- ', text, flags=re.MULTILINE)
    assert 'no interval with fewer than 10 pictures of a class' in text


def test_a_separable_folder_under_the_trigger_is_told_with_what_the_trigger_rests_on(
    bundle: Bundle, engine: Engine, data: Path, result: Evaluation
) -> None:
    assert 'is separable' not in report.to_text(result)
    high = replace(bundle.calibration('fp32').operating_point, trigger=1e9)
    lost = replace(
        result,
        calibration=replace(result.calibration, operating_point=high),
        rows=tuple(replace(row, over_trigger=0.2) for row in result.rows),
    )
    text = report.to_text(lost)
    assert 'far is separable (AUROC 1.0000; 100.0% over what 5% of known exceed)' in text
    assert 'but the trigger finds 20.0%' in text
    assert 'none of 200 held-out frames scored over it' in text
    point = report.facts(lost)['operating_point']
    assert (point['held_out'], point['held_out_over_trigger']) == (200, 0)


def test_markdown_has_a_cell_for_every_column(result: Evaluation) -> None:
    rows = [line for line in report.markdown(result).splitlines() if line.startswith('|')]
    assert len(rows) == 3 + len(result.rows)  # two of the head, one of all
    assert len({row.count('|') for row in rows}) == 1


def test_progress_counts_every_file(bundle: Bundle, engine: Engine, data: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    evaluate(
        bundle,
        engine,
        images=data / 'known',
        ood=[data / 'far'],
        resamples=1,
        progress=lambda *step: seen.append(step),
    )
    assert seen[13] == ('known', 14, 14)
    assert seen[-1] == ('far', 5, 5)


def test_folders_of_one_name_are_told_apart(
    bundle: Bundle, engine: Engine, data: Path, tmp_path: Path
) -> None:
    _fill(tmp_path / 'far', 2, _red, 'png')
    ood = [data / 'far', tmp_path / 'far']
    result = evaluate(bundle, engine, images=data / 'known', ood=ood, resamples=1)
    assert [row.name for row in result.rows] == [str(data / 'far'), str(tmp_path / 'far')]


def test_an_ood_folder_inside_the_id_folder_is_refused(
    bundle: Bundle, engine: Engine, data: Path
) -> None:
    with pytest.raises(ParameterError, match='5 files are in-distribution and out'):
        evaluate(bundle, engine, images=data, ood=[data / 'far'])


def test_an_ood_folder_inside_another_one_is_refused(tmp_path: Path, data: Path) -> None:
    _fill(tmp_path / 'fog', 2, _red, 'png')
    _fill(tmp_path / 'fog/near', 3, _red, 'png')
    for ood in (['fog', 'fog/near'], ['fog/near', 'fog']):
        with pytest.raises(
            ParameterError, match=f'3 files are in two out.*{ood[0]} and .*{ood[1]}$'
        ):
            find_image_sets(data / 'known', [tmp_path / name for name in ood])


def test_pictures_that_are_named_after_a_bag_make_no_bag(tmp_path: Path, data: Path) -> None:
    _fill(tmp_path / 'site', 1, _red, 'mcap.0001.png')
    assert len(find_image_sets(data / 'known', [tmp_path / 'site']).files[1]) == 1


@pytest.mark.parametrize('name', ['flight.mcap', 'flight/flight_0.db3', 'a/b_0.mcap.zstd'])
def test_a_bag_is_refused_with_the_verb_that_reads_it(
    bundle: Bundle, engine: Engine, data: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'')
    bag = tmp_path / name.split('/', maxsplit=1)[0]
    with pytest.raises(ParameterError, match=r"got a bag; 'ood_monitor evaluate BUNDLE BAG'"):
        evaluate(bundle, engine, images=data / 'known', ood=[bag])


def test_a_folder_of_nothing_but_corrupt_images_is_refused(
    bundle: Bundle, engine: Engine, data: Path, tmp_path: Path
) -> None:
    (tmp_path / 'a.jpg').write_bytes(b'no picture')
    with pytest.raises(ParameterError, match='no image of 1 could be read'):
        evaluate(bundle, engine, images=data / 'known', ood=[tmp_path])


def test_no_ood_folder_is_refused(bundle: Bundle, engine: Engine, data: Path) -> None:
    with pytest.raises(ParameterError, match='at least one out-of-distribution folder'):
        evaluate(bundle, engine, images=data / 'known', ood=[])


def _run(*argv: str) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers())
    args = parser.parse_args(['evaluate', *argv])
    return int(args.run(args))


def test_the_verb_prints_the_table_and_writes_both_files(
    bundle: Bundle, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ['--images', str(data / 'known'), '--ood', str(data / 'near'), str(data / 'far')]
    files = ['--json', str(tmp_path / 'out/e.json'), '--report', str(tmp_path / 'e.md')]
    assert _run(str(bundle.path), *folders, *files) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith('near ') for line in lines)
    assert any(line.startswith('far ') for line in lines)
    assert json.loads((tmp_path / 'out/e.json').read_text())['rows'][1]['auroc'] == 1.0
    assert (tmp_path / 'e.md').read_text().startswith('# Evaluation of tiny\n')


def test_a_result_that_cannot_be_written_is_refused_by_name(
    bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    (tmp_path / 'file').write_text('')
    folders = ['--images', str(data / 'known'), '--ood', str(data / 'far')]
    with pytest.raises(OodMonitorError, match=r'^cannot write file .*e\.json$'):
        _run(str(bundle.path), *folders, '--json', str(tmp_path / 'file/e.json'))


@pytest.mark.skipif(not SHARED.is_dir(), reason='no folder of real images beside the checkout')
def test_real_images_are_read_and_scored(bundle: Bundle, engine: Engine) -> None:
    data = SHARED / 'data'
    result = evaluate(
        bundle, engine, images=data / 'edges', ood=[data / 'filled_silhouettes'], resamples=10
    )
    assert [len(result.id_folder.files), result.rows[0].count] == [160, 160]
    assert not result.id_folder.skipped
