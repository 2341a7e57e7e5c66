"""What the training report shows, gathered from what the training found."""

from __future__ import annotations

from ros_ood_monitor.training.report_rows.gather import report_data

__all__ = ['report_data']
