"""``ood_monitor verify``: does an engine on this device reproduce the bundle's goldens."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import contextlib
import json
from typing import Any

from ros_ood_monitor.cli.arguments import add_device, at_least

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'verify',
        help='does this engine reproduce the goldens',
        description="Runs the bundle's goldens through an engine of this device and compares "
        'the scores. Exit code 1 where one precision differs.',
    )
    parser.add_argument('bundle', help='folder or .zip of a bundle, or the name of a shipped one')
    parser.add_argument('--engine', default='auto', help='inference library (default: auto)')
    parser.add_argument('--precision', help='one of the precisions (default: all that it runs)')
    add_device(parser)
    parser.add_argument(
        '--threads', type=at_least(1), default=1, metavar='N', help='CPU threads (default: 1)'
    )
    parser.add_argument(
        '--json', metavar='FILE', help='write the errors of raw_score, score and map there'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify each precision; 1 where one fails."""
    from ros_ood_monitor.atomic import check_output
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.bundle.goldens import Verification
    from ros_ood_monitor.engines.selection import check_engine
    from ros_ood_monitor.evaluation.speed.machine import context
    from ros_ood_monitor.evaluation.tables import write_text
    from ros_ood_monitor.share import bundle_path

    if args.json:
        check_output(args.json)
    bundle = Bundle.load(bundle_path(args.bundle))
    check_engine(args.engine)
    found = []
    code = 0
    for precision in [bundle.precision(args.precision)] if args.precision else _each(bundle, args):
        row, result = _verified(bundle, args, precision)
        found.append(row)
        print(f'{_name(row["engine"])}, {precision}: {result}')
        code = code or (0 if isinstance(result, Verification) and result.ok else 1)
    if args.json:
        about = {'name': bundle.manifest.name, 'digest': bundle.digest}
        content = {'bundle': about, 'context': context(), 'parity': found}
        write_text(args.json, json.dumps(content, indent=1, allow_nan=False) + '\n')
    return code


def _name(facts: Mapping[str, str]) -> str:
    name = facts['engine']
    return f'{name} {facts["version"]} on {facts["device"]}' if 'device' in facts else name


def _each(bundle: Any, args: argparse.Namespace) -> list[str]:
    """Return the precisions that the engine runs, of a library those that it was built in."""
    from ros_ood_monitor.engines.build import PRECISIONS
    from ros_ood_monitor.engines.built import built_engines, find_built

    held = bundle.manifest.precisions
    if args.engine not in PRECISIONS:
        return list(held)
    engines = built_engines(bundle, args.engine, cache=args.cache)
    built = {engine.identity.precision for engine in engines}
    if not built:
        find_built(bundle, args.engine, device=args.device, cache=args.cache)  # says what mends it
    for precision in held:
        if precision not in built:
            is_run = precision in PRECISIONS[args.engine]
            why = 'no engine is built in it' if is_run else 'does not run it'
            print(f'{args.engine}, {precision}: left out: {why}')
    return [precision for precision in held if precision in built]


def _verified(bundle: Any, args: argparse.Namespace, precision: str) -> tuple[Any, Any]:
    """Return what came of it: an engine that cannot answer has failed, the next one may not."""
    from ros_ood_monitor.engines import open_engine
    from ros_ood_monitor.errors import EngineError
    from ros_ood_monitor.evaluation.speed.parity import no_parity, parity

    try:
        engine = open_engine(
            bundle,
            args.engine,
            precision=precision,
            threads=args.threads,
            device=args.device,
            cache=args.cache,
        )
    except EngineError as error:
        return no_parity({'engine': args.engine, 'precision': precision}, error), error
    result: Any
    with contextlib.closing(engine):
        try:
            result = bundle.verify(engine, engine.precision)
            return parity(bundle, engine, result), result
        except EngineError as error:
            return parity(bundle, engine, error), error
