"""Box hits: counted strictly, beside what chance would hit; boxes outside are refused."""

from __future__ import annotations

import numpy as np
import pytest

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.metrics.boxes import Box, box_hits, mask_of_boxes


def test_a_box_is_hit_by_one_pixel_over_the_threshold() -> None:
    score = np.zeros((10, 12), dtype=np.float32)
    score[4, 5] = 2.0
    boxes = [Box(5, 4, 7, 6), Box(6, 4, 8, 6), Box(3, 2, 5, 5)]  # the last two end beside it
    hits = box_hits([(score, boxes)], 1.0)
    assert (hits.count, hits.rate) == (3, 1 / 3)
    assert box_hits([(score, boxes)], 2.0).rate == 0.0  # strictly over


def test_chance_is_the_share_of_clean_windows_that_are_hit() -> None:
    rng = np.random.default_rng(12)
    score = (rng.random((15, 17)) > 0.95).astype(np.float32)
    boxes = [Box(2, 3, 5, 5), Box(9, 8, 13, 14)]
    boxed = mask_of_boxes(boxes, 15, 17)
    expected = []
    for box in boxes:
        height, width = box.bottom - box.top, box.right - box.left
        windows = [
            score[y : y + height, x : x + width].max() > 0.5
            for y in range(15 - height + 1)
            for x in range(17 - width + 1)
            if not boxed[y : y + height, x : x + width].any()
        ]
        expected.append(np.mean(windows))
    assert box_hits([(score, boxes)], 0.5).chance == pytest.approx(np.mean(expected))


def test_chance_of_a_box_that_leaves_no_room_is_unknown() -> None:
    assert np.isnan(box_hits([(np.zeros((4, 4), np.float32), [Box(0, 0, 4, 3)])], 0.0).chance)


@pytest.mark.parametrize(
    'box', [Box(0, 0, 7, 2), Box(-1, 0, 2, 2), Box(0, 0, 2, 5), Box(3, 1, 3, 2), Box(4, 1, 3, 2)]
)
def test_a_box_outside_its_picture_is_refused(box: Box) -> None:
    with pytest.raises(ParameterError, match='expected x from 0 to 6 and y from 0 to 4, got x'):
        box_hits([(np.zeros((4, 6), np.float32), [box])], 0.0)


def test_no_box_at_all_is_refused() -> None:
    with pytest.raises(ParameterError, match='at least one box, got none'):
        box_hits([(np.zeros((4, 6), np.float32), [])], 0.0)
