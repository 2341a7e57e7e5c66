"""
Everything that only a machine with a GPU can tell, in one command.

Usage::

    python -m tests.bench.gpu models/lunar_orbit --json FOLDER [--seconds 450] [--only PART ...]

Each part runs in a process of its own: what fails, hangs or crashes in one costs the others
nothing but time, and is written down with its reason. ``FOLDER/gpu.json`` is written anew after
every part; an engine that runs leaves an ``engine_*.json`` and a ``batches_*.json``, too, which
become rows of the documentation when they lie in ``tests/bench/results``. Nothing is installed:
a library that is not there is a failure that says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.tables import write_text
from tests.bench.gpu_parts import PARTS

ROOT = Path(__file__).resolve().parents[2]
_LOG = 4000  # characters of a part's output that are kept
_LEAST_S = 5.0


def run_part(name: str, args: argparse.Namespace, timeout: float) -> dict[str, Any]:
    """Run one part and return what it found before it ended, and how it ended."""
    found = args.json / f'part_{name}.json'
    found.unlink(missing_ok=True)
    command = [sys.executable, '-m', 'tests.bench.gpu', str(args.bundle), '--json', str(args.json)]
    start, failure = time.monotonic(), None
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [*command, '--part', name],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it is ended with all that it has started
        )
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired:
            failure = f'not done after {timeout:.0f} s'
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        output.seek(0)
        log = output.read().decode(errors='replace')
    if failure is None and child.returncode:
        last = log.strip().splitlines()[-1:] or ['no output']
        failure = f'ended with {child.returncode}: {last[0]}'
    result = json.loads(found.read_text(encoding='utf-8')) if found.exists() else {}
    found.unlink(missing_ok=True)
    return {
        'ok': failure is None,
        'failure': failure,
        'seconds': round(time.monotonic() - start, 1),
        'found': result,
        'log': log[-_LOG:],
    }


def summary(parts: dict[str, Any]) -> str:
    """Return a line a part."""
    return '\n'.join(
        f'{name:22} {"ok" if part["ok"] else "FAILED":7} {part["seconds"]:6.1f} s  '
        f'{part["failure"] or ", ".join(part["found"])}'[:200]
        for name, part in parts.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bundle', type=Path)
    parser.add_argument('--json', type=Path, required=True, metavar='FOLDER')
    parser.add_argument('--seconds', type=float, default=450.0, help='for all parts together')
    parser.add_argument('--only', nargs='+', choices=list(PARTS), default=list(PARTS))
    parser.add_argument('--part', choices=list(PARTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.json.mkdir(parents=True, exist_ok=True)
    if args.part:
        PARTS[args.part].run(args.bundle, args.json / f'part_{args.part}.json', args.json)
        return
    end = time.monotonic() + args.seconds
    facts: dict[str, Any] = {'context': context(), 'bundle': args.bundle.name, 'parts': {}}
    for name in args.only:
        left = end - time.monotonic()
        facts['parts'][name] = (
            run_part(name, args, min(left, PARTS[name].at_most_s))
            if left > _LEAST_S
            else {'ok': False, 'failure': 'no time was left', 'seconds': 0.0, 'found': {}}
        )
        write_text(args.json / 'gpu.json', json.dumps(facts, indent=1) + '\n')
    print(summary(facts['parts']))


if __name__ == '__main__':
    main()
