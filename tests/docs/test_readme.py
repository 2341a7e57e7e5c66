"""What the README and the docs say is what the code does."""

from __future__ import annotations

import ast
import json
from pathlib import Path
import re

import numpy as np
import pytest

from ros_ood_monitor import errors
from ros_ood_monitor.cli.main import make_parser, VERBS
from ros_ood_monitor.engines import ENGINES
from tests.bench import tables

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = 'ros_ood_monitor'
README = (ROOT / 'README.md').read_text(encoding='utf-8')
DOCS = {
    path: path.read_text(encoding='utf-8')
    for path in [ROOT / 'README.md', *ROOT.glob('docs/**/*.md')]
}

NODE = DOCS[ROOT / 'docs/node.md']


def test_the_parameter_table_is_the_rendered_one() -> None:
    pytest.importorskip('rclpy')
    from ros_ood_monitor.cli.main import main

    start = NODE.index('<!-- rendered by: ood_monitor params --format markdown -->')
    end = NODE.index('<!-- end -->', start)
    shown = NODE[start:end].split('-->', 1)[1].strip()
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
    assert name in DOCS[ROOT / 'docs/troubleshooting.md']


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


@pytest.mark.parametrize('path', DOCS, ids=lambda path: path.name)
def test_links_to_headings_lead_somewhere(path: Path) -> None:
    for target, anchor in re.findall(r'\]\((?!https?:)([^)#]*)#([^)]+)\)', DOCS[path]):
        text = DOCS[(path.parent / target).resolve() if target else path]
        headings = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
        assert anchor in {re.sub(r'[^\w -]', '', h).lower().replace(' ', '-') for h in headings}


def test_what_is_installed_links_to_nothing_that_is_not() -> None:
    text = (ROOT / 'models/README.md').read_text(encoding='utf-8')
    assert re.findall(r'\]\((?!https?:)', text) == []


def test_every_value_of_the_messages_is_documented() -> None:
    pytest.importorskip('rclpy')
    from std_msgs.msg import Header

    from ros_ood_monitor.records import AlertState, Observation, State
    from ros_ood_monitor.ros.messages.converters import alert_status, observation_message

    observation = Observation(
        0.0, 'front', 1.0, 0.5, 2.0, AlertState(State.NORMAL), 1.0, heatmap_peak=0.5
    )
    statuses = [
        *observation_message(Header(), observation, name='n', bundle='b', latency_ms=1.0).status,
        alert_status(observation.alert, name='n', camera='c', bundle='b', peak=1.0, duration=1.0),
    ]
    section = NODE[NODE.index('| Value of |') : NODE.index('| Status in')]
    keys = {value.key for status in statuses for value in status.values}
    assert {'raw_score', 'state', 'peak', 'duration', 'bundle'} <= keys
    assert keys == set(re.findall(r'`(\w+)`', section))


def test_the_python_of_the_heatmaps_runs(tmp_path: Path) -> None:
    pytest.importorskip('onnx')
    from tests.tiny_bundle import make_tiny_bundle

    bundle = make_tiny_bundle(tmp_path / 'site', maps=True)
    (code,) = re.findall(r'```python\n(.*?)```', DOCS[ROOT / 'docs/heatmaps.md'], re.DOTALL)
    names = {'rgb': np.broadcast_to(np.uint8([255, 0, 0]), (60, 90, 3)).copy()}
    exec(code.replace("'models/site'", repr(str(bundle.path))), names)
    assert names['heat'].shape == (60, 90)
    assert names['small'].shape == (240, 320)
    assert names['picture'].shape[1] >= 320


def test_every_counter_of_the_diagnostics_is_documented() -> None:
    pytest.importorskip('rclpy')
    from ros_ood_monitor.ros.camera.counts import StreamCounts
    from ros_ood_monitor.ros.camera.publishers import Publishers
    from ros_ood_monitor.ros.diagnostics.input_status import input_status, InputFacts

    facts = InputFacts('/image', True, Publishers(1), StreamCounts(0.0).snapshot(1.0))
    status = input_status('n', camera='c', facts=facts)
    start = NODE.index("The input's counters")
    section = NODE[start : NODE.index('## Parameters')]
    documented = set(re.findall(r'^\| `(\w+)`', section, re.MULTILINE))
    assert {'dropped', 'skipped', 'missed_frames'} <= documented
    assert documented <= {value.key for value in status.values}


def test_the_table_of_frames_and_thresholds_is_the_one_that_calibration_gives() -> None:
    from ros_ood_monitor.calibration import conformal_threshold, frames_needed

    text = DOCS[ROOT / 'docs/tuning_alerts.md']
    rows = re.findall(r'^\| (\d+)[^|]*\| (\d+) \| (\d+)', text, re.MULTILINE)
    assert [int(row[1]) for row in rows] == [frames_needed(0.01), 200, 400, 1000, 2000]
    for frames, held_out, over in rows:
        scores = np.arange(int(held_out), dtype=np.float64)
        assert int(frames) == 5 * len(scores)
        assert np.count_nonzero(scores > conformal_threshold(scores, 0.01)) == int(over)


def test_simulated_deployments_kept_to_the_bound_in_93_of_100_as_the_documentation_says() -> None:
    for logic, name in tables.RATES.items():
        worlds = tables.read(name)['worlds']
        assert len(worlds) == 5
        for world in worlds:
            stated = world['deployments'] - world['refused'] - world['too_much_in_alert']
            holds = world['within_bound'] >= 0.93 * stated
            # days that differ: said of these two logics, and none of their rates from few days
            assert holds or (logic in ('cusum', 'martingale') and world['offset'] > 0.0)
            assert holds or world['established'] < 0.5 * world['deployments']
    said = DOCS[ROOT / 'docs/tuning_alerts.md']
    assert 'even then the bound may be too low. Where days differ, use `ewma`.' in ' '.join(
        said.split()
    )


def test_the_layers_in_contributing_are_those_of_the_import_contract() -> None:
    tomllib = pytest.importorskip('tomllib', reason='comes with Python 3.11')
    tables = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))
    contracts = [c for c in tables['tool']['importlinter']['contracts'] if c['type'] == 'layers']
    held = [[re.findall(r'\w+', layer) for layer in c['layers']] for c in contracts]
    assert held[0].pop(0) == ['__main__']
    blocks = re.findall(r'```\n(\w.*?)```', DOCS[ROOT / 'docs/contributing.md'], re.DOTALL)
    shown = [[re.findall(r'\w+', line) for line in block.splitlines()] for block in blocks]
    assert shown == held


@pytest.mark.parametrize('name', tables.FILES)
def test_tables_of_measurements_are_those_of_the_files(name: str) -> None:
    text = (ROOT / name).read_text(encoding='utf-8')
    assert 'rendered by: python -m tests.bench.tables' in text
    assert tables.rendered(text) == text


def test_every_figure_said_of_unleashing_mask_is_one_of_its_measurement() -> None:
    text = DOCS[ROOT / 'docs/unmask.md']
    said = text[text.index('* **The curve of the paper') : text.index('## The brake of a flow')]
    sets = tables.read('unmask')['sets']
    near = {
        f'{row["near"]:.3f}' for runs in sets.values() for r in runs for row in r['rows'].values()
    }
    shown = {
        figure
        for name in tables.TABLES
        if name.startswith('unmask_')
        for figure in re.findall(r'\d\.\d{3}', tables.TABLES[name]())
    }
    figures = set(re.findall(r'\d\.\d{3}', said))
    assert len(figures) > 20
    assert figures <= shown | near


def test_an_engine_that_nobody_has_run_is_not_measured() -> None:
    rows = tables.engines().splitlines()[2:]
    assert {row.split('`')[1] for row in rows} == {*ENGINES} - {'auto'}
    found = [json.loads(path.read_text()) for path in tables.RESULTS.glob('engine_*.json')]
    run = {tables.of_bench(facts) for facts in found if 'times_ms' in facts}
    measured = {row.split('`')[1] for row in rows if row.count(tables.NOBODY) < 4}
    assert measured == run >= {'onnxruntime'}


def said_by_the_code() -> list[str]:
    """Return every string of the package, with a space for what is filled in."""
    found = []
    for path in (ROOT / PACKAGE).rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else ' ' for p in node.values)
                found.append(''.join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_every_message_in_the_engines_troubleshooting_is_one_that_the_code_says() -> None:
    text = DOCS[ROOT / 'docs/engines.md']
    start = text.index('## Troubleshooting')
    rows = re.findall(r'^\| (`.+?) \| ', text[start : text.index('\n## ', start)], re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r'`([^`]+)`', row)]
    assert len(messages) >= 20
    said = said_by_the_code()
    for message in messages:
        parts = [part.strip() for part in message.split('...') if part.strip()]
        pattern = re.compile('.*'.join(map(re.escape, parts)), re.DOTALL)
        assert any(pattern.search(each) for each in said), message
