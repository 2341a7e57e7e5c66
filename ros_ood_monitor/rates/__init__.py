"""
False alerts per hour: what so many alerts in so many hours of sequences allow to say.

An alert is an episode, which may be counted like a rare event where a frame may not: frames of a
video depend on each other. Alerts of one recording may still depend on each other, and days
differ, so a bound for counts stands beside one that resamples whole sequences, and the larger one
is quoted.
"""

from __future__ import annotations

from ros_ood_monitor.rates.bounds import (
    affordable_episodes,
    bootstrap_upper_rate,
    CONFIDENCE,
    hours_needed,
    poisson_upper,
    rounded_up,
    upper_rate,
)
from ros_ood_monitor.rates.rate_bound import most_in_alert, RateBound
from ros_ood_monitor.rates.tail import Tail

__all__ = [
    'CONFIDENCE',
    'RateBound',
    'Tail',
    'affordable_episodes',
    'bootstrap_upper_rate',
    'hours_needed',
    'most_in_alert',
    'poisson_upper',
    'rounded_up',
    'upper_rate',
]
