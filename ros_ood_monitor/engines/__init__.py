"""From network input to Reading: backbone and scorer on one device, behind one protocol."""

from __future__ import annotations

from ros_ood_monitor.engines.base import Engine
from ros_ood_monitor.engines.selection import ENGINES, open_engine

__all__ = ['ENGINES', 'Engine', 'open_engine']
