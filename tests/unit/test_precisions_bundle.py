"""A bundle of several precisions: each verb takes the wanted one, with what belongs to it."""

from __future__ import annotations

from collections.abc import Iterator
import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import yaml

from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.bundle import Bundle, write_bundle
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.errors import BundleError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Reading
from tests.tiny_bundle import make_tiny_bundle

PRECISIONS = ('fp32', 'fp16', 'cpu-int8', 'trt-int8')


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', precisions=PRECISIONS)


def pictures(count: int) -> Iterator[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(9)
    for _ in range(count):
        yield rng.uniform(100, 156, (60, 90, 3)).astype(np.uint8)


def test_precisions_of_one_frame_differ_by_their_rounding_and_no_more(bundle: Bundle) -> None:
    rgb = next(pictures(1))
    got = {}
    for precision in PRECISIONS:
        monitor = Monitor.from_bundle(bundle, precision=precision)
        got[precision] = monitor.observe_image(rgb, stamp=1.0).raw_score
        assert monitor.engine.describe()['precision'] == precision
        assert monitor.threshold == bundle.calibration(precision).operating_point.trigger
        assert monitor.verify().ok
        monitor.close()
    assert len(set(got.values())) == len(PRECISIONS)
    spread = bundle.calibration('fp32').raw_score.std()
    assert abs(got['fp16'] - got['fp32']) < 0.1 * spread
    assert abs(got['cpu-int8'] - got['fp32']) < 1.0 * spread
    assert abs(got['trt-int8'] - got['fp32']) < 1.0 * spread


def test_the_first_precision_is_taken_where_none_is_named(bundle: Bundle) -> None:
    assert open_engine(bundle).describe()['precision'] == 'fp32'


def test_a_precision_that_the_bundle_lacks_is_refused(tmp_path: Path) -> None:
    only = make_tiny_bundle(tmp_path / 'tiny')
    with pytest.raises(BundleError, match=r"no precision 'cpu-int8': it holds \['fp32'\]"):
        Monitor.from_bundle(only, precision='cpu-int8')


def test_a_precision_added_changes_nothing_of_the_others(bundle: Bundle, tmp_path: Path) -> None:
    only = make_tiny_bundle(tmp_path / 'tiny')
    for name, digest in only.manifest.digests.items():
        assert bundle.manifest.digests[name] == digest


def test_verify_tries_each_precision(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['verify', str(bundle.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(PRECISIONS)
    for precision, line in zip(PRECISIONS, lines, strict=True):
        assert f', {precision}: engine reproduces 3 goldens' in line


def test_inspect_shows_each_precision_and_what_they_share_once(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['inspect', str(bundle.path)]) == 0
    card = capsys.readouterr().out
    assert f'calibration  {", ".join(PRECISIONS)}: ' in card
    for word in ('of them over the trigger', 'in a row', 'false alerts per hour'):
        assert card.count(word) == 1, word
    for precision in PRECISIONS:
        trigger = bundle.calibration(precision).operating_point.trigger
        assert f'    {precision:<10} trigger {trigger:.4g}, ' in card
    assert card.count('(the default)') == 1


def test_inspect_warns_of_a_precision_that_is_not_established(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {'precision': 'fp16', 'warning': ''},
        {'precision': 'cpu-int8', 'warning': 'cpu-int8: not established; on blur: AUROC drops'},
        {'precision': 'bf16', 'warning': 'of one that was refused'},
    ]
    raw = {key: value for key, value in bundle.manifest.raw.items() if key != 'digests'}
    raw['training'] = {**raw.get('training', {}), 'precisions': rows}
    files = {name: bundle.read(name) for name in bundle.manifest.digests}
    other = write_bundle(tmp_path / 'other', manifest=raw, files=files)
    assert main(['inspect', str(other.path)]) == 0
    card = capsys.readouterr().out
    assert card.count('WARNING      cpu-int8: not established; on blur: AUROC drops') == 1
    assert 'refused' not in card


def test_replay_runs_the_wanted_precision(bundle: Bundle, tmp_path: Path) -> None:
    bag, table = tmp_path / 'flight', tmp_path / 'rows.csv'
    with BagWriter(bag) as writer:
        for k, rgb in enumerate(pictures(4)):
            writer.write_image('/front/image_raw', rgb, 10.0 + 0.1 * k)
    arguments = ['replay', str(bundle.path), str(bag), '--precision', 'cpu-int8']
    assert main([*arguments, '--out', str(table)]) == 0
    with table.open(newline='') as file:
        rows = [float(row['raw_score']) for row in csv.DictReader(file)]
    monitor = Monitor.from_bundle(bundle, precision='cpu-int8')
    wanted = [monitor.observe_image(rgb, stamp=0.0).raw_score for rgb in pictures(4)]
    assert rows == pytest.approx(wanted, rel=1e-6)


class _Off:
    """An engine whose scores are off by a constant, as one that rounds in other places."""

    def __init__(self, bundle: Bundle, precision: str, error: float) -> None:
        self._engine, self._error = open_engine(bundle, precision=precision), error

    def infer(self, batch: npt.NDArray[np.uint8]) -> Reading:
        return Reading(self._engine.infer(batch).raw_score + self._error)


def test_a_precision_is_verified_by_its_own_tolerance(bundle: Bundle, tmp_path: Path) -> None:
    spread = float(bundle.calibration('fp32').raw_score.std())
    text = yaml.safe_load((bundle.path / 'manifest.yaml').read_text())
    text['verify']['cpu-int8'] = {'absolute': 0.5 * spread, 'relative': 1e-4}
    files = {name: bundle.read(name) for name in bundle.manifest.digests}
    manifest = {key: value for key, value in text.items() if key not in {'format', 'digests'}}
    wider = write_bundle(tmp_path / 'wider', manifest=manifest, files=files)
    for precision, error, ok in (
        ('cpu-int8', 0.3, True),
        ('cpu-int8', 0.6, False),
        ('fp32', 0.3, False),
        ('fp16', 0.3, False),
    ):
        engine = _Off(wider, precision, error * spread)
        assert wider.verify(engine, precision).ok is ok, (precision, error)
    assert main(['verify', str(wider.path)]) == 0
