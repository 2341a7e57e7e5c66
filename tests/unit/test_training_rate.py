"""A training that is asked for a rate of false alerts: set where it can be, else explained."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch')

from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.deployed import Deployed
from ros_ood_monitor.training.held_out.rate import held_out_rates
from ros_ood_monitor.training.settings.train_settings import TrainSettings
from tests.training_tools import scene

pytestmark = pytest.mark.usefixtures('exported_once')

BAGS, FRAMES = 12, 50


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('bags')
    for k in range(BAGS):
        with BagWriter(folder / f'day_{k}') as writer:
            for j in range(FRAMES):
                writer.write_image('/front/image_raw', scene(1000 * k + j), 100.0 + j)
    return folder


def trained(data: Path, out: Path, *options: str) -> int:
    fast = '--taps blocks.0 --density mahalanobis --map none --input-size 64 --alpha 0.05'
    arguments = ['--data', str(data), '--out', str(out), '--workers', '0', '--device', 'cpu']
    return main(['train', *arguments, *fast.split(), '--quiet', '--no-cache', *options])


def test_held_out_bags_set_the_alert_for_a_rate_that_they_support(
    bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'bundle'
    assert trained(bags, out, '--false-alerts-per-hour', '600', '--split', 'sequence') == 0
    bundle = Bundle.load(out)
    point = bundle.calibration().operating_point
    assert point.rate is not None
    assert point.rate_established
    assert point.rate.hours <= 0.5 * (0.2 * BAGS * (FRAMES - 1) / 3600) + 0.02
    assert point.frame_rate_hz == pytest.approx(1.0)
    raw = bundle.manifest.raw
    assert raw['training']['false_alarm_rate'] == f'fp32: {point.rate}'
    assert raw['training']['settings']['false_alerts_per_hour'] == 600.0
    assert raw['calibration']['fp32']['rate'] == point.rate.card()
    assert f'rate       fp32: {point.rate}' in capsys.readouterr().out
    shown = json.loads((out / 'report' / 'report.json').read_text(encoding='utf-8'))
    assert shown['limits'][0] == f'False alerts per hour: fp32: {point.rate}.'


@dataclasses.dataclass(frozen=True)
class Frames:
    """What of a feature table tells of time: ten frames in a row."""

    sequence = np.zeros(10, dtype=np.int64)
    stamp = np.arange(10.0)


@dataclasses.dataclass(frozen=True)
class NoStamps(Frames):
    stamp = np.full(10, math.nan)


@pytest.mark.parametrize(
    ('table', 'rule', 'changes', 'why'),
    [
        (Frames(), 'sequence', {}, 'takes at least 3 quiet hours, got'),
        (Frames(), 'block', {}, 'lie between fitted ones'),
        (NoStamps(), 'sequence', {}, 'no stamps'),
        (Frames(), 'sequence', {'near_duplicates': 2.0}, 'near-duplicates were left out'),
    ],
)
def test_a_rate_that_the_data_cannot_support_is_not_established_and_said_why(
    bags: Path, table: Frames, rule: str, changes: dict[str, float], why: str
) -> None:
    rows = np.arange(10)
    scores = np.random.default_rng(0).normal(size=10)
    calibration = Calibration.fit(scores, alpha=0.2)
    one = Deployed('fp32', b'', calibration, None, scores, scores, {})  # type: ignore[arg-type]
    asked = TrainSettings((bags,), false_alerts_per_hour=1.0, **changes)  # type: ignore[arg-type]
    rate = held_out_rates(
        {'fp32': one},
        table,  # type: ignore[arg-type]
        Split(rule, rows[:0], rows[:0], rows),
        Dataset([bags / 'day_0']),
        asked,
    )['fp32']
    assert why in str(rate)
    assert str(rate).startswith('not established: ')
    assert '--extrapolate' not in str(rate)
    assert rate.point == calibration.operating_point
    assert rate.card() == {'established': False, 'statement': str(rate)}


def test_a_rate_that_is_none_is_refused_before_any_work() -> None:
    with pytest.raises(CalibrationError, match='must be over 0 per hour'):
        TrainSettings(('nowhere',), false_alerts_per_hour=-1.0).check()
