"""From scores and stamps to AlertState: one file a logic, one contract."""

from __future__ import annotations

from ros_ood_monitor.alerting.base import AlertLogic
from ros_ood_monitor.alerting.consecutive import ConsecutiveLogic

__all__ = ['AlertLogic', 'ConsecutiveLogic']
