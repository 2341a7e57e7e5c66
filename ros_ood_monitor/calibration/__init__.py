"""
From raw_score to a score in [0, 1] and to thresholds, out of held-out in-distribution frames.

Frames of a video are not exchangeable, so alpha is a share of frames and *not* a rate of
false alerts: an operating point says whether its rate per hour was established.
"""

from __future__ import annotations

from ros_ood_monitor.calibration.calibration import Calibration
from ros_ood_monitor.calibration.conformal import conformal_threshold, frames_needed
from ros_ood_monitor.calibration.map_calibration import MapCalibration
from ros_ood_monitor.calibration.operating_point import OperatingPoint
from ros_ood_monitor.calibration.support import map_warning, trigger_support, trigger_warning

__all__ = [
    'Calibration',
    'MapCalibration',
    'OperatingPoint',
    'conformal_threshold',
    'frames_needed',
    'map_warning',
    'trigger_support',
    'trigger_warning',
]
