"""An evaluation for people (text, Markdown) and for programs (JSON)."""

from __future__ import annotations

from ros_ood_monitor.evaluation.report.facts import facts, to_json
from ros_ood_monitor.evaluation.report.people import markdown, to_text
from ros_ood_monitor.evaluation.report.text import markdown_table, text_table, write_text

__all__ = ['facts', 'markdown', 'markdown_table', 'text_table', 'to_json', 'to_text', 'write_text']
