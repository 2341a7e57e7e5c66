"""
The real node with clocks in it: prints CPU times as one line of JSON for each line it reads.

``python tests/bench/node_probe.py --ros-args ...``, as ``ood_monitor_node``. Time inside the
engine and inside the monitor (resize, engine, alert logic) is that of the thread that runs them,
which is all of it with one thread; what is left of the process is what receiving, decoding and
publishing cost, and the interpreter around them.
"""

from __future__ import annotations

from collections.abc import Callable
import json
import sys
import threading
import time
from typing import Any

from ros_ood_monitor.engines.ort_engine import OrtEngine
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.ros import monitor_node

_spent_ns = {'engine': 0, 'monitor': 0}


def clocked(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Add the CPU time of a function's calls to a sum."""

    def run(*args: Any) -> Any:
        start = time.thread_time_ns()
        try:
            return function(*args)
        finally:
            _spent_ns[name] += time.thread_time_ns() - start

    return run


def clocks() -> dict[str, Any]:
    """Return CPU times since the start, in s."""
    threads: dict[str, float] = {}
    for thread in threading.enumerate():
        clock = time.pthread_getcpuclockid(thread.ident or 0)
        threads[thread.name] = time.clock_gettime_ns(clock) * 1e-9
    process = time.process_time()
    # Fast DDS receives in threads of its own; threads that have ended are among them, too
    threads['middleware'] = process - sum(threads.values())
    return {
        'process': process,
        'engine': _spent_ns['engine'] * 1e-9,
        'monitor': _spent_ns['monitor'] * 1e-9,
        'threads': threads,
    }


def answer() -> None:
    """Print the clocks whenever a line comes."""
    for _ in sys.stdin:
        print(json.dumps(clocks()), flush=True)


def main() -> int:
    """Run the node."""
    OrtEngine.infer = clocked(OrtEngine.infer, 'engine')  # type: ignore[method-assign]
    Monitor.observe = clocked(Monitor.observe, 'monitor')  # type: ignore[method-assign]
    threading.Thread(target=answer, name='probe', daemon=True).start()
    return monitor_node.main()


if __name__ == '__main__':
    sys.exit(main())
