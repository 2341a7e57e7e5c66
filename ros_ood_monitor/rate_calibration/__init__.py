"""
An operating point for a rate of false alerts, out of held-out in-distribution sequences.

One part of the sequences chooses the limit of the alert logic, another one states the rate that
this limit has: quoting the hours that chose the limit would flatter it. Alerts of both are counted
by the very logic that the node runs.
"""

from __future__ import annotations

from ros_ood_monitor.rate_calibration.alerts import Alerts, Count, count_episodes
from ros_ood_monitor.rate_calibration.calibrate import calibrate_rate, point_for
from ros_ood_monitor.rate_calibration.hours import check_hours, rate_to_aim_at
from ros_ood_monitor.rate_calibration.refractory import check_refractory, usual_refractory
from ros_ood_monitor.rate_calibration.result import RateCalibration

__all__ = [
    'Alerts',
    'Count',
    'RateCalibration',
    'calibrate_rate',
    'check_hours',
    'check_refractory',
    'count_episodes',
    'point_for',
    'rate_to_aim_at',
    'usual_refractory',
]
