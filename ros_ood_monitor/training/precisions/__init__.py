"""Backbones in fp16 and int8, and whether they may be shipped."""

from __future__ import annotations

from ros_ood_monitor.training.precisions.convert import (
    check_precision,
    convert,
    PRECISIONS,
)
from ros_ood_monitor.training.precisions.gate import golden_tolerance, judge, judge_worst
from ros_ood_monitor.training.precisions.verdict import PrecisionScores, PrecisionVerdict

__all__ = [
    'PRECISIONS',
    'PrecisionScores',
    'PrecisionVerdict',
    'check_precision',
    'convert',
    'golden_tolerance',
    'judge',
    'judge_worst',
]
