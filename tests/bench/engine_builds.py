"""
Time and size of building each precision's engine.

Usage::

    python -m tests.bench.engine_builds models/lunar_orbit BUNDLE ... \
        --json tests/bench/results/trt_builds.json

``tensorrt_rtx`` builds on a CPU, ``tensorrt`` where there is its GPU. Nothing is kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import tempfile
from typing import Any

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines.build import build_engine, PRECISIONS
from ros_ood_monitor.engines.trt_library import load_library
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.tables import write_text


def built(bundle: Bundle, library: str, precision: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:
        files, _ = build_engine(bundle, library=library, precision=precision, cache=Path(cache))
    return {
        'library': library,
        'version': files.identity.version,
        'bundle': bundle.manifest.name,
        'precision': precision,
        'build_s': files.about['build_s'],
        'mib': sum(files.about['mib'].values()),
        'layers': files.about['layers'],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bundles', nargs='+', type=Path)
    parser.add_argument('--library', default='auto')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    library = load_library(args.library).name
    before = context()
    builds = [
        built(bundle, library, precision)
        for bundle in map(Bundle.load, args.bundles)
        for precision in bundle.manifest.precisions
        if precision in PRECISIONS[library]
    ]
    text = json.dumps({'context': before, 'builds': builds}, indent=1) + '\n'
    print(text)
    if args.json:
        write_text(args.json, text)


if __name__ == '__main__':
    main()
