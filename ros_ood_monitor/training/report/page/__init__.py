"""The training report as a page: one file for each part of what it shows."""

from __future__ import annotations

from ros_ood_monitor.training.report.page.page import render

__all__ = ['render']
