"""``ood_monitor verify``: does an engine on this device reproduce the bundle's goldens."""

from __future__ import annotations

import argparse
import json
from typing import Any

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'verify', help='does this engine reproduce the goldens', description=__doc__
    )
    parser.add_argument('bundle', help='folder or .zip of a bundle, or the name of a shipped one')
    parser.add_argument('--engine', default='auto', help='inference library (default: auto)')
    parser.add_argument('--precision', help='one of the precisions (default: all of them)')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (default: 1)')
    parser.add_argument(
        '--json', metavar='FILE', help='write the errors of raw_score, score and map there'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify each precision; 1 where one fails."""
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.bundle.goldens import Verification
    from ros_ood_monitor.engines import open_engine
    from ros_ood_monitor.evaluation.machine import context
    from ros_ood_monitor.evaluation.parity import parity
    from ros_ood_monitor.evaluation.report import write_text
    from ros_ood_monitor.share import bundle_path

    bundle = Bundle.load(bundle_path(args.bundle))
    found = []
    code = 0
    for precision in [args.precision] if args.precision else bundle.manifest.precisions:
        engine = open_engine(bundle, args.engine, precision=precision, threads=args.threads)
        try:
            facts = engine.describe()
            result = _verify(bundle, engine)
            if args.json:
                found.append(parity(bundle, engine, result))
        finally:
            engine.close()
        print(f'{facts["engine"]} {facts["version"]} on {facts["device"]}, {precision}: {result}')
        code = code or (0 if isinstance(result, Verification) and result.ok else 1)
    if args.json:
        about = {'name': bundle.manifest.name, 'digest': bundle.digest}
        content = {'bundle': about, 'context': context(), 'parity': found}
        write_text(args.json, json.dumps(content, indent=1, allow_nan=False) + '\n')
    return code


def _verify(bundle: Any, engine: Any) -> Any:
    """Return what came of it: an engine that cannot answer has failed, the next one may not."""
    from ros_ood_monitor.errors import EngineError

    try:
        return bundle.verify(engine, engine.precision)
    except EngineError as error:
        return error
