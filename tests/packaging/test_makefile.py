"""The Makefile's targets exist where the docs name them, and call commands that are there."""

from __future__ import annotations

from pathlib import Path
import re
import shlex
import shutil
import subprocess

import pytest

from ros_ood_monitor.cli.main import make_parser

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / 'Makefile').read_text(encoding='utf-8')
TARGETS = set(re.findall(r'^([a-z-]+):', MAKEFILE, re.MULTILINE))


def dry_run(target: str) -> list[str]:
    """Return the command lines of a target, prerequisites that are not built yet included."""
    make = shutil.which('make')
    if make is None:
        pytest.skip('make is not installed')
    done = subprocess.run(
        [make, '--dry-run', '--no-print-directory', target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def ood_monitor_commands(target: str) -> list[list[str]]:
    """Return the arguments of every ood_monitor command that a target runs."""
    lines = [shlex.split(line) for line in dry_run(target) if '/ood_monitor' in line]
    return [words[1:] for words in lines if words[0].endswith('/ood_monitor')]


@pytest.mark.parametrize('target', ['bench', 'demo'])
def test_the_parser_accepts_what_a_target_runs(target: str) -> None:
    (words,) = ood_monitor_commands(target)
    args = make_parser().parse_args(words)
    assert words[0] == target
    assert args.run.__module__ == f'ros_ood_monitor.cli.{target}'


def test_bench_measures_a_bundle_that_is_shipped() -> None:
    (words,) = ood_monitor_commands('bench')
    bundle = make_parser().parse_args(words).bundle
    assert (ROOT / bundle / 'manifest.yaml').is_file()


@pytest.mark.parametrize('target', ['bench', 'demo'])
def test_pytorch_is_not_fetched_to_run_the_online_side(target: str) -> None:
    rule = re.search(rf'^{target}: ([^#\n]*)', MAKEFILE, re.MULTILINE)
    assert rule is not None
    assert rule[1].split() == ['.venv/runtime']


def test_every_target_that_the_docs_name_is_there() -> None:
    texts = [ROOT / 'README.md', ROOT / '.ci/run', *ROOT.glob('docs/**/*.md')]
    named = {
        word
        for path in texts
        for words in re.findall(r'(?:^|`)make ([a-z -]+)', path.read_text(), re.MULTILINE)
        for word in words.split()
    }
    assert {'demo', 'test', 'check'} <= named
    assert named <= TARGETS
