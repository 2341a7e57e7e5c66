"""
Makes the shipped bundle ``models/lunar_orbit``: renders normal sequences and trains on them.

Run it from the repository's root: ``python models/make_lunar_orbit.py [FRAMES]``. FRAMES is a
folder for the rendered pictures; one that is there is used as it is. Seeds 1000 to 1119 are the
training set; the demo's bag has another. Many short sequences teach more than few long ones:
pictures of one sequence are nearly the same. Features are cached: a second training is short.
"""

from __future__ import annotations

from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

HERE = Path(__file__).resolve().parent
SEED, SEQUENCES, FRAMES, RATE_HZ = 1000, 120, 16, 0.26  # a minute each


def main() -> int:
    """Render and train."""
    with tempfile.TemporaryDirectory() as scratch:
        frames = Path(sys.argv[1] if len(sys.argv) > 1 else scratch) / 'frames'
        if not frames.exists():
            render = ['lunar', 'render', '--out', str(frames), '--seed', str(SEED)]
            render += ['--sequences', str(SEQUENCES), '--frames', str(FRAMES)]
            _ood_monitor(*render, '--rate', str(RATE_HZ))
        bundle = HERE / 'lunar_orbit'
        train = ['train', '--data', str(frames), '--out', str(bundle)]
        # stages with 16 px or more a cell: the finer ones see light and texture, not objects; the
        # penultimate features would add half of the size
        train += ['--taps', ','.join(f'blocks.{k}' for k in range(3, 7)), '--split', 'sequence']
        train += ['--name', 'lunar_orbit', '--overwrite']
        _ood_monitor(*train, '--data-licence', 'Apache-2.0 (rendered by this project)')
        shutil.rmtree(bundle / 'report', ignore_errors=True)  # 4.6 MB, in no digest
    return 0


def _ood_monitor(*arguments: str) -> None:
    # a process each: torch does not survive being loaded after the renderer's EGL
    command = [sys.executable, '-m', 'ros_ood_monitor.cli.main', *arguments]
    subprocess.run(command, check=True)


if __name__ == '__main__':
    sys.exit(main())
