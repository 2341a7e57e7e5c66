"""What a training report shows, as plain values."""

from __future__ import annotations

from ros_ood_monitor.training.report.data.frames import HealthRow, SequenceRow, SheetImage
from ros_ood_monitor.training.report.data.precisions import CalibrationRow, PrecisionRow
from ros_ood_monitor.training.report.data.report_data import ReportData, TimingRow
from ros_ood_monitor.training.report.data.taps import CandidateRow, Look, TapReport
from ros_ood_monitor.training.report.data.unmask import AtypicalImage, UnmaskRow
from ros_ood_monitor.training.report.data.wild import WildRow

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
]
