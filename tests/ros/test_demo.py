from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli.demo import _bar, _summary, _with_maps, BAR_WIDTH
from ros_ood_monitor.records import State
from ros_ood_monitor.ros.demo.demo import Shown
from ros_ood_monitor.ros.demo.player import Played
from ros_ood_monitor.ros.demo.seen import alerts_of, key_moments, Point
from tests.ros.harness import normal_frame, strange_frame
from tests.tiny_bundle import make_tiny_bundle


def _points(states: str) -> list[Point]:
    """Make points N(ormal), S(uspect) and A(lert), 1 s apart; the raw_score rises with time."""
    names = {'N': State.NORMAL, 'S': State.SUSPECT, 'A': State.ALERT}
    return [Point(float(k), float(k), 0.5, 3.0, names[s]) for k, s in enumerate(states)]


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small bag with its labels: strange from 1.0 s to 2.0 s."""
    path = tmp_path_factory.mktemp('demo') / 'bag'
    with BagWriter(path) as writer:
        for k in range(40):
            rgb = strange_frame(60, 90) if 10 <= k < 20 else normal_frame(k)
            writer.write_jpeg('/eye/image/compressed', rgb, 1000.0 + 0.1 * k)
    (path.parent / 'labels.yaml').write_text('- {start: 1001.0, end: 1002.0, kind: red}\n')
    return path


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'ros_ood_monitor', 'demo', *arguments],
        capture_output=True,
        text=True,
        timeout=300.0,
        check=False,
    )


def test_demo_shows_scores_alert_and_picture_and_ends_by_itself(
    tiny_bundle: Path, bag: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'out'
    result = _demo('--bundle', str(tiny_bundle), '--bag', str(bag), '--out', str(out))
    assert result.returncode == 0, result.stderr
    assert '40 of 40 frames scored' in result.stdout
    assert 'alert from 1.2 s to ' in result.stdout
    assert 'labelled red from 1.0 s to 2.0 s: alert after 0.2 s' in result.stdout
    assert 'node ended with exit code 0' in result.stdout
    lines = [line.split() for line in result.stdout.splitlines() if ' s ' in line[:9]]
    assert {line[-1] for line in lines} >= {'NORMAL'}
    picture = cv2.imread(str(out / 'overview.png'))
    assert picture.shape[0] > 600
    assert picture.shape[1] > 1000
    assert np.ptp(picture) == 255
    log = (out / 'node.log').read_text()
    assert 'Traceback' not in log
    # STALE before the first frame is true where the two processes find each other slowly; the
    # first NORMAL then tells of it
    since = log[log.index('NORMAL: like the training data') :].splitlines()
    warned = [line for line in since if '[WARN]' in line and 'ALERT: ' not in line]
    # of a pause of the player, which a busy machine makes, the node tells the truth, too
    assert [line for line in warned if not line.endswith(' s without a frame')] == []


def test_demo_asked_for_more_than_the_node_can_do_ends_and_says_what_was_scored(
    tiny_bundle: Path, bag: Path, tmp_path: Path
) -> None:
    result = _demo(
        '--bundle', str(tiny_bundle), '--bag', str(bag), '--out', str(tmp_path), '--rate', '1000'
    )
    assert result.returncode == 0, result.stderr
    assert '40 of 40 frames scored' in result.stdout
    assert ' times the pace of the bag\n' in result.stdout
    assert 'alert from 1.2 s to ' in result.stdout


def _shown(scored: int, **counts: int) -> Shown:
    return Shown(points=_points('N' * scored), played=Played(10, 2.0, finished=True), **counts)


@pytest.mark.parametrize(
    ('shown', 'said'),
    [
        (_shown(10, received=10), ''),
        (_shown(7, received=10, dropped=3), ': 3 dropped by the node for a newer one'),
        (
            _shown(4, received=8, dropped=3, bad=1),
            ': 3 dropped by the node for a newer one, 1 not decodable, '
            '2 never received by the node',
        ),
        (_shown(9, received=10), ': 1 without an answer heard here'),
    ],
)
def test_frames_without_a_score_are_counted_by_what_became_of_them(
    shown: Shown, said: str
) -> None:
    scored = len(shown.points)
    pace = f'{(scored - 1) / 2.0:.1f}'
    assert _summary(shown, [])[0] == (
        f'{scored} of 10 frames scored in 2.0 s, {pace} times the pace of the bag{said}'
    )


def test_scale_of_the_bar_starts_at_the_floor_and_has_the_threshold_in_the_middle() -> None:
    def filled(raw_score: float) -> int:
        return (
            _bar(Point(0.0, raw_score, 0.5, 3.0, State.NORMAL), -1.0).replace('|', '').count('#')
        )

    assert [filled(x) for x in (-5.0, -1.0, 1.0)] == [0, 0, BAR_WIDTH // 4]
    assert filled(100.0) == BAR_WIDTH - 1


def test_demo_says_why_the_node_cannot_configure(
    tiny_bundle: Path, bag: Path, tmp_path: Path
) -> None:
    result = _demo('--bundle', str(tmp_path / 'none'), '--bag', str(bag), '--out', str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith('ood_monitor: error: bundle not found')


def test_demo_refuses_a_bag_that_is_none(tiny_bundle: Path, tmp_path: Path) -> None:
    result = _demo(
        '--bundle', str(tiny_bundle), '--bag', str(tmp_path / 'none'), '--out', str(tmp_path)
    )
    assert result.returncode == 1
    assert result.stderr.startswith('ood_monitor: error: ')
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    ('states', 'alerts'),
    [
        ('NNNN', []),
        ('NSAAN', [(2.0, 4.0)]),
        ('NAANNAA', [(1.0, 3.0), (5.0, 6.0)]),
        ('A', [(0.0, 0.0)]),
        ('ASN', [(0.0, 2.0)]),
        ('ASAN', [(0.0, 2.0), (2.0, 3.0)]),
    ],
)
def test_alerts_last_from_the_raising_to_the_clearing_frame(
    states: str, alerts: list[tuple[float, float]]
) -> None:
    assert [(a.start, a.end) for a in alerts_of(_points(states))] == alerts


def test_key_moments_are_in_the_order_of_time_and_none_twice() -> None:
    moments = key_moments(_points('NNNSAAANN'))
    assert list(moments) == ['normal', 'alert', 'worst']
    assert [p.stamp for p in moments.values()] == [1.0, 4.0, 8.0]
    assert list(key_moments(_points('NNN'))) == ['normal', 'worst']
    assert list(key_moments(_points('A'))) == ['alert']


def test_pictures_of_the_overview_show_where_for_a_bundle_that_knows(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    rgb = normal_frame(height=240, width=320)
    rgb[120:180, 160:240] = 255, 0, 0
    frames = {2.0: rgb, 1.0: normal_frame(height=240, width=320)}
    assert _with_maps(Bundle.load(tiny_bundle), frames) is frames
    drawn = _with_maps(make_tiny_bundle(tmp_path / 'mapped', maps=True), frames)
    assert list(drawn) == [2.0, 1.0]
    assert (drawn[1.0] == frames[1.0]).all()
    changed = (drawn[2.0] != rgb).any(axis=2)
    assert changed[120:180, 160:240].mean() > 0.9
    assert not changed[:80].any()
