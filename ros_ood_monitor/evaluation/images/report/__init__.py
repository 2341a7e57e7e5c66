"""An evaluation for people (text, Markdown) and for programs (JSON)."""

from __future__ import annotations

from ros_ood_monitor.evaluation.images.report.facts import facts, to_json
from ros_ood_monitor.evaluation.images.report.people import markdown, to_text

__all__ = ['facts', 'markdown', 'to_json', 'to_text']
