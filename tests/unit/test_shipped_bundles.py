"""Every bundle in models/: whole, small, reproduced by the engine, and listed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.monitor import Monitor

MODELS = Path(__file__).resolve().parents[2] / 'models'
BUNDLES = sorted(path.parent for path in MODELS.glob('*/manifest.yaml'))


@pytest.fixture(params=BUNDLES, ids=lambda path: path.name)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return Bundle.load(request.param)


def test_there_is_one() -> None:
    assert BUNDLES


def test_engine_reproduces_its_goldens(bundle: Bundle) -> None:
    for precision in bundle.manifest.precisions:
        result = bundle.verify(open_engine(bundle, precision=precision), precision)
        assert result.ok
        assert result.count >= 2


def test_it_takes_at_most_15_mb_and_holds_nothing_else(bundle: Bundle) -> None:
    files = [path for path in bundle.path.rglob('*') if path.is_file()]
    assert {path.name for path in files} == {'manifest.yaml', *bundle.manifest.digests}
    assert sum(path.stat().st_size for path in files) < 15e6


def test_its_card_states_licences_and_limits(bundle: Bundle) -> None:
    raw = bundle.manifest.raw
    assert raw['name'] == bundle.path.name
    assert set(raw['licences']) >= {'code', 'weights', 'data'}
    assert 'not stated' not in raw['licences'].values()
    assert 'not established' in raw['training']['false_alarm_rate']


def test_it_is_listed(bundle: Bundle) -> None:
    listed = (MODELS / 'README.md').read_text(encoding='utf-8')
    taps = bundle.manifest.taps
    assert f'`{bundle.path.name}`' in listed
    assert f'`{taps[0].name}` to `{taps[-1].name}`' in listed


def test_the_map_of_the_shipped_bundle_points_at_what_is_foreign_and_at_nothing_else() -> None:
    pytest.importorskip('rosbags')
    folder = MODELS.parent / 'tests/bags/lunar_orbit'
    boxes = yaml.safe_load((folder / 'boxes.yaml').read_text(encoding='utf-8'))
    (label,) = yaml.safe_load((folder / 'labels.yaml').read_text(encoding='utf-8'))
    monitor = Monitor.from_bundle(Bundle.load(MODELS / 'lunar_orbit'))
    seen, normal = 0, 0
    with BagReader(folder / 'bag') as reader:
        for k, frame in enumerate(reader.frames()):
            if frame.stamp in boxes:
                heat = monitor.observe(frame).heatmap
                assert heat is not None
                left, top, width, height = boxes[frame.stamp]
                over = heat > 1.0
                assert over[top : top + height, left : left + width].mean() > 0.4
                assert over.mean() < 0.15, 'the largest body is 4 % of the picture'
                seen += 1
            elif k % 20 == 0:
                assert not label['start'] <= frame.stamp < label['end']
                assert monitor.observe(frame).regions == ()
                normal += 1
    assert (seen, normal) == (len(boxes), 20) == (9, 20)
