"""The figures of a training report, each as the bytes of a PNG."""

from __future__ import annotations

from ros_ood_monitor.training.report.figures.figures import draw_all

__all__ = ['draw_all']
