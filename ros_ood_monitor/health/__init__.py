"""
Is this a usable picture: checks of frames and of their stream, before anything is scored.

A broken input is no anomaly of the scene, and no normal frame either. The checks look at the
network's input, so that a trainer and a robot measure the same; limits come from the training's
own frames, where the bundle has them.
"""

from ros_ood_monitor.health.checks import Check, CHECKS
from ros_ood_monitor.health.health_monitor import HealthMonitor
from ros_ood_monitor.health.limits import health_table, HealthLimits
from ros_ood_monitor.health.measures import measure, MEASURES

__all__ = [
    'CHECKS',
    'MEASURES',
    'Check',
    'HealthLimits',
    'HealthMonitor',
    'health_table',
    'measure',
]
