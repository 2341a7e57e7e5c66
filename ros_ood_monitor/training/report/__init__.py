"""The training report: a page that a person can defend a bundle with, and its numbers."""

from __future__ import annotations

from ros_ood_monitor.training.report.write import write_report

__all__ = ['write_report']
