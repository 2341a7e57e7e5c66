"""The ``ood_monitor`` command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import importlib
import shlex
import sys
from typing import NoReturn

from ros_ood_monitor import __version__
from ros_ood_monitor.cli.arguments import UsageError
from ros_ood_monitor.errors import OodMonitorError

__all__ = ['VERBS', 'main', 'make_parser']

VERBS = (
    'train',
    'calibrate',
    'inspect',
    'verify',
    'build-engine',
    'replay',
    'evaluate',
    'label',
    'mark',
    'bench',
    'benchmark',
    'doctor',
    'params',
    'demo',
    'play',
    'lunar',
)
"""The verbs, in the order of ``--help``; each is a module of this package."""


class _Parser(argparse.ArgumentParser):
    """Refuses in one line; the usage of a verb with many options would bury it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'{self.prog}: error: {message}; see {self.prog} --help\n')


def make_parser() -> argparse.ArgumentParser:
    """
    Return the parser with every verb.

    Returns
    -------
    argparse.ArgumentParser
        Each verb sets ``run``, a function from the parsed arguments to the exit code.

    """
    parser = _Parser(
        prog='ood_monitor',
        description='Tells, per camera frame, how unlike its training data a picture is.',
    )
    parser.add_argument('-V', '--version', action='version', version=f'ood_monitor {__version__}')
    subparsers = parser.add_subparsers(title='verbs', metavar='VERB', required=True)
    for verb in VERBS:
        importlib.import_module(f'ros_ood_monitor.cli.{verb.replace("-", "_")}').add_parser(
            subparsers
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one verb.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; ``sys.argv[1:]`` where they are not given.

    Returns
    -------
    int
        Exit code: 0 done, 1 refused, 2 wrong usage, 130 interrupted.

    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        args = make_parser().parse_args(argv)
        args.command = shlex.join(['ood_monitor', *argv])
        return int(args.run(args))
    except UsageError as error:
        verb = f'ood_monitor {argv[0]}'
        print(f'{verb}: error: {error}; see {verb} --help', file=sys.stderr)
        return 2
    except OodMonitorError as error:
        print(f'ood_monitor: error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        what_now = f'; {interrupt}' if str(interrupt) else ''
        print(f'ood_monitor: interrupted{what_now}', file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of a pipe went away: nothing is left to say, and stdout must not complain
        sys.stderr.close()
        return 1


if __name__ == '__main__':
    sys.exit(main())
