"""
Makes the shipped bundle ``models/lunar_orbit``: renders normal sequences and trains on them.

Run it from the repository's root: ``python models/make_lunar_orbit.py [FRAMES]``. FRAMES is a
folder for the rendered pictures; one that is there is used as it is. Seeds 0 to 35 are the
training set; the demo's bag has another.
"""

from __future__ import annotations

from pathlib import Path
import sys
import tempfile

from ros_ood_monitor.cli.main import main as ood_monitor

HERE = Path(__file__).resolve().parent
SEQUENCES, FRAMES, SECONDS = 36, 40, 60.0


def main() -> int:
    """Render and train."""
    with tempfile.TemporaryDirectory() as scratch:
        frames = Path(sys.argv[1] if len(sys.argv) > 1 else scratch) / 'frames'
        if not frames.exists():
            render = ['lunar', 'render', '--out', str(frames), '--seed', '0']
            render += ['--sequences', str(SEQUENCES), '--frames', str(FRAMES)]
            code = ood_monitor([*render, '--rate', str(FRAMES / SECONDS)])
            if code:
                return code
        train = ['train', '--data', str(frames), '--out', str(HERE / 'lunar_orbit')]
        # cut before the widest stages, which would triple the size
        train += ['--taps', ','.join(f'blocks.{k}' for k in range(6)), '--split', 'sequence']
        train += ['--name', 'lunar_orbit', '--overwrite']
        return ood_monitor([*train, '--data-licence', 'Apache-2.0 (rendered by this project)'])


if __name__ == '__main__':
    sys.exit(main())
