"""From scores and stamps to AlertState: one file a logic, one contract, one automaton."""

from __future__ import annotations

from ros_ood_monitor.alerting.accumulating import AccumulatingLogic
from ros_ood_monitor.alerting.automaton import Automaton
from ros_ood_monitor.alerting.base import AlertLogic
from ros_ood_monitor.alerting.consecutive import ConsecutiveLogic
from ros_ood_monitor.alerting.cusum import CusumLogic
from ros_ood_monitor.alerting.episodes import Episode, EpisodeLog
from ros_ood_monitor.alerting.ewma import EwmaLogic
from ros_ood_monitor.alerting.make import LOGICS, make_logic
from ros_ood_monitor.alerting.martingale import MartingaleLogic

__all__ = [
    'LOGICS',
    'AccumulatingLogic',
    'AlertLogic',
    'Automaton',
    'ConsecutiveLogic',
    'CusumLogic',
    'Episode',
    'EpisodeLog',
    'EwmaLogic',
    'MartingaleLogic',
    'make_logic',
]
