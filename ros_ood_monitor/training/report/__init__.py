"""The training report: a page that a person can defend a bundle with, and its numbers."""

from __future__ import annotations

from ros_ood_monitor.training.report.data import (
    AtypicalImage,
    CalibrationRow,
    CandidateRow,
    HealthRow,
    Look,
    PrecisionRow,
    ReportData,
    SequenceRow,
    SheetImage,
    TapReport,
    TimingRow,
    UnmaskRow,
    WildRow,
)
from ros_ood_monitor.training.report.write import write_report

__all__ = [
    'AtypicalImage',
    'CalibrationRow',
    'CandidateRow',
    'HealthRow',
    'Look',
    'PrecisionRow',
    'ReportData',
    'SequenceRow',
    'SheetImage',
    'TapReport',
    'TimingRow',
    'UnmaskRow',
    'WildRow',
    'write_report',
]
