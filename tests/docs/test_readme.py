"""What the README and the docs say is what the code does."""

from __future__ import annotations

from pathlib import Path
import re

import pytest

from ros_ood_monitor import errors
from ros_ood_monitor.cli.main import make_parser, VERBS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
DOCS = {
    path: path.read_text(encoding='utf-8')
    for path in [ROOT / 'README.md', *ROOT.glob('docs/**/*.md')]
}


def test_the_parameter_table_is_the_rendered_one() -> None:
    pytest.importorskip('rclpy')
    from ros_ood_monitor.cli.main import main

    start = README.index('<!-- rendered by: ood_monitor params --format markdown -->')
    end = README.index('<!-- end -->', start)
    shown = README[start:end].split('-->', 1)[1].strip()
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(['params', '--format', 'markdown']) == 0
    assert shown == out.getvalue().strip()


@pytest.mark.parametrize('verb', VERBS)
def test_every_verb_is_documented(verb: str) -> None:
    assert any(f'ood_monitor {verb}' in text for text in DOCS.values())


@pytest.mark.parametrize('name', [n for n in errors.__all__ if n != 'OodMonitorError'])
def test_every_error_is_in_troubleshooting(name: str) -> None:
    section = README[README.index('## Troubleshooting') : README.index('## Compatibility')]
    assert name in section


def commands() -> list[str]:
    """Command lines of the ood_monitor command in the documentation's code blocks."""
    found = []
    for text in DOCS.values():
        for block in re.findall(r'```bash\n(.*?)```', text, re.DOTALL):
            for line in block.splitlines():
                line = line.split(' #')[0].strip()
                if line.startswith('ood_monitor '):
                    found.append(line)
    return found


@pytest.mark.parametrize('command', commands())
def test_every_command_in_a_code_block_is_accepted_by_the_parser(command: str) -> None:
    words = command.replace('...', '').split()[1:]
    make_parser().parse_args(words)


@pytest.mark.parametrize('path', DOCS, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(path: Path) -> None:
    for target in re.findall(r'\]\((?!https?:|#)([^)#]+)', DOCS[path]):
        assert (path.parent / target).exists(), target
    assert '@@' not in DOCS[path]
