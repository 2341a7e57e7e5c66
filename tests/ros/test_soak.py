"""Two minutes of a camera that misbehaves; ``python -m tests.ros.soak`` goes on for an hour."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from tests.ros.soak import soak

pytestmark = pytest.mark.usefixtures('ros')

GROWTH_MIB = 16.0  # pools and caches fill in the first minutes; an hour shows the rest


def test_two_minutes_of_faults_lose_no_frame_and_leave_no_state_untold(tmp_path: Path) -> None:
    found = soak(120.0, tmp_path, seed=7)
    assert found['failures'] == []
    assert len(found['acts']) == 15
    assert found['states_told']['ALERT'] >= found['acts']['strange']
    assert found['states_told']['FAULT'] >= found['acts']['black'] + found['acts']['still']
    assert found['scored'] > 0.5 * found['sent']
    early, late = found['rss_mib_by_fifth'][1], found['rss_mib_by_fifth'][-1]
    assert late - early < GROWTH_MIB, found['rss_mib_by_fifth']
    assert max(found['threads_by_fifth']) - found['threads_by_fifth'][1] <= 2
