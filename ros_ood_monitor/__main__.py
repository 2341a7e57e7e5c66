"""``python -m ros_ood_monitor`` is ``ood_monitor``."""

from __future__ import annotations

import sys

from ros_ood_monitor.cli.main import main

sys.exit(main())
