"""An active node: what it subscribes to, the threads that answer, and what is told of it."""

from __future__ import annotations

from ros_ood_monitor.ros.watch.camera_report import idle_statuses
from ros_ood_monitor.ros.watch.watch import Watch

__all__ = ['Watch', 'idle_statuses']
