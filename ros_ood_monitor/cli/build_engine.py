"""``ood_monitor build-engine``: a bundle's engine for this device, built once and kept."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
import contextlib
from typing import Any, TYPE_CHECKING

from ros_ood_monitor.cli.arguments import add_device, at_least

if TYPE_CHECKING:
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.engines.cache import EngineFiles

__all__ = ['add_parser', 'build', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'build-engine',
        help='build the TensorRT engine of a bundle for this device',
        description='Builds the engine, keeps it in a cache, and verifies it on the goldens where '
        'there is a GPU. An engine that is there already is not built again.',
    )
    parser.add_argument('bundle', help='folder or .zip of a bundle, or the name of a shipped one')
    parser.add_argument(
        '--library',
        default='auto',
        choices=('auto', 'tensorrt', 'tensorrt_rtx'),
        help='what builds and runs it (default: the first that is installed)',
    )
    parser.add_argument(
        '--precision',
        help="one of the bundle's precisions (default: fp16 if the bundle has it, else its first)",
    )
    parser.add_argument(
        '--batch',
        type=at_least(1),
        nargs=3,
        default=(1, 1, 1),
        metavar=('MIN', 'OPT', 'MAX'),
        help='pictures in one call: least, usual, most (default: 1 1 1)',
    )
    parser.add_argument(
        '--tf32', action='store_true', help="let the backbone's fp32 products be rounded to TF32"
    )
    parser.add_argument(
        '--workspace',
        type=at_least(0),
        default=0,
        metavar='MIB',
        help='most scratch memory (default: as much as there is)',
    )
    parser.add_argument(
        '--compute-capability',
        nargs='+',
        default=(),
        metavar='C',
        help='tensorrt_rtx: build for these only, such as 8.6 (default: one engine for all that '
        'it knows)',
    )
    add_device(parser)
    parser.add_argument('--force', action='store_true', help='build it again')
    parser.add_argument(
        '--progress', action='store_true', help='a line a percent on stdout, for programs'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build, say where it is, and verify; 1 where the engine does not reproduce the goldens."""
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.engines.build import BuildOptions
    from ros_ood_monitor.share import bundle_path

    options = BuildOptions(
        batch=tuple(args.batch),
        tf32=args.tf32,
        workspace_mib=args.workspace,
        compute_capabilities=tuple(args.compute_capability),
    )
    return build(
        Bundle.load(bundle_path(args.bundle)),
        library=args.library,
        precision=args.precision,
        options=options,
        device=args.device,
        cache=args.cache,
        force=args.force,
        lines=args.progress,
    )


def build(bundle: Bundle, *, device: int = 0, lines: bool = False, **wanted: Any) -> int:
    """
    Build an engine, say where it is, and verify it.

    Parameters
    ----------
    bundle : Bundle
        What it is built of.
    device : int, default 0
        The GPU.
    lines : bool, default False
        Whether progress is told to a program that reads stdout.
    **wanted
        As `ros_ood_monitor.engines.build.build_engine` takes them.

    Returns
    -------
    int
        1 where the engine does not reproduce the goldens.

    """
    from ros_ood_monitor.engines.build import build_engine

    with _shown(lines=lines) as show:
        files, is_new = build_engine(bundle, device=device, on_progress=show, **wanted)
    identity, about = files.identity, files.about
    print(
        f'{identity.library} {identity.version}, {identity.precision}, '
        f'for {identity.meant_for}: {files.mib:.1f} MiB, '
        + (f'built in {about["build_s"]:.1f} s' if is_new else f'built {_when(about)} already')
    )
    print(f'engine: {files.folder}')
    return _verify(bundle, files, device)


def _verify(bundle: Bundle, files: EngineFiles, device: int) -> int:
    from ros_ood_monitor.engines.cuda import find_device
    from ros_ood_monitor.engines.selection import open_built
    from ros_ood_monitor.errors import EngineError

    try:
        find_device(device)
    except EngineError as error:
        print(f'not verified here: {error}')
        return 0
    with contextlib.closing(open_built(bundle, files, device=device)) as engine:
        engine.warm_up()
        result = bundle.verify(engine, engine.precision)
        facts = engine.describe()
    print(f'{facts["engine"]} {facts["version"]} on {facts["device"]}: {result}')
    return 0 if result.ok else 1


def _when(about: dict[str, Any]) -> str:
    return str(about.get('built', 'at some time'))


@contextlib.contextmanager
def _shown(*, lines: bool) -> Iterator[Callable[[str, float], None]]:
    """Show how far a build is: to a program, or to whoever sits before a terminal."""
    from ros_ood_monitor.cli.console import Console

    if lines:
        yield _Lines()
        return
    with Console(quiet=False) as console, console.counting(elsewhere=True) as show:
        yield lambda part, share: show(f'building the {part}', f'{share:4.0%}')


class _Lines:
    """A line a percent, as `ros_ood_monitor.engines.build_process` reads them."""

    def __init__(self) -> None:
        from ros_ood_monitor.engines.build_process import progress_line

        self._line = progress_line
        self._last = ''

    def __call__(self, what: str, share: float) -> None:
        line = self._line(what, share)
        if line != self._last:
            print(line, flush=True)
        self._last = line
