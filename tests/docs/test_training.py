"""What the guide of the trainer says is what the trainer does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
import re
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / 'docs/training.md').read_text(encoding='utf-8')
FORMAT = (ROOT / 'docs/bundle_format.md').read_text(encoding='utf-8')
DETECTORS = (ROOT / 'docs/detectors.md').read_text(encoding='utf-8')
README = (ROOT / 'README.md').read_text(encoding='utf-8')
MANIFESTS = sorted(ROOT.glob('models/*/manifest.yaml'))
DECISIONS = sorted((ROOT / 'docs/decisions').glob('*.md'))


def rows(text: str, head: str) -> list[list[str]]:
    """Return the cells of the table that follows a head."""
    lines = text[text.index(head) :].splitlines()[2:]
    table = [line for line in lines[: lines.index('')] if line.startswith('|')]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in table]


def test_the_presets_of_flows_have_the_values_of_the_table() -> None:
    pytest.importorskip('torch')
    from ros_ood_monitor.training.settings.presets import FlowSettings, PRESETS

    table = {row[0].strip('`'): row[1:4] for row in rows(GUIDE, '| key of `flow`')}
    assert set(table) == {field.name for field in fields(FlowSettings)} - {'name'}
    for column, name in enumerate(PRESETS):
        preset = FlowSettings.preset(name)
        for key, cells in table.items():
            value = getattr(preset, key)
            text = yaml.safe_load(cells[column])
            assert (float(text) if isinstance(value, float) else text) == value, (name, key)


def test_the_packaged_backbones_are_listed_with_the_input_they_take() -> None:
    pytest.importorskip('torch')
    from ros_ood_monitor.training.backbone_names import LITE_SIZES
    from ros_ood_monitor.training.backbones import available_backbones

    table = {row[0].split('`')[1]: row for row in rows(GUIDE, '| `--backbone`')}
    known = set(available_backbones())
    assert {name for name in known if ':' not in name} <= set(table)
    assert set(table) - {'FILE.onnx'} <= known
    for name, side in LITE_SIZES.items():
        assert table[name][3] == str(side)


def test_every_precision_is_in_the_table() -> None:
    pytest.importorskip('onnx')
    from ros_ood_monitor.training.precisions import PRECISIONS

    assert [row[0].strip('`') for row in rows(GUIDE, '| precision |')] == list(PRECISIONS)


def test_every_kind_of_pseudo_ood_is_named() -> None:
    from ros_ood_monitor.training.frames.pseudo_ood import KINDS

    section = GUIDE[GUIDE.index('Pseudo-OOD pictures are made') :]
    assert [kind for kind in KINDS if f'`{kind}`' not in section] == []


def test_a_frame_takes_the_bytes_in_the_cache_that_the_guide_says() -> None:
    from ros_ood_monitor.training.features.shard import record_type

    (fixed,) = re.findall(r'(\d+) \+ 4 x width bytes', GUIDE)
    ((whole, width),) = re.findall(r'(\d+) for all (\d+) features', GUIDE)
    assert record_type(0).itemsize == int(fixed)
    assert record_type(int(width)).itemsize == int(whole)


def test_the_rule_of_evidence_is_told_as_the_manifest_tells_it() -> None:
    pytest.importorskip('torch')
    from ros_ood_monitor.training.fitting.choice import RULE

    section = DETECTORS[DETECTORS.index('## The rule') : DETECTORS.index('## What it brought')]
    assert RULE in section
    assert 'more than one standard error' not in section


def test_the_settings_files_that_are_named_are_there() -> None:
    named = set(re.findall(r'config/training/(\w+\.yaml)', GUIDE)) | {'default.yaml'}
    assert named == {path.name for path in (ROOT / 'config/training').glob('*.yaml')}


def test_every_flag_of_the_guide_is_one_of_train() -> None:
    from ros_ood_monitor.cli.main import make_parser

    (verbs,) = (a for a in make_parser()._actions if a.metavar == 'VERB')
    assert isinstance(verbs.choices, Mapping)
    known = set(verbs.choices['train']._option_string_actions)
    prose = re.sub(r'```.*?```', '', GUIDE, flags=re.DOTALL)
    named = set(re.findall(r'`(--[a-z][a-z-]*)', prose))
    assert len(named) > 20
    assert named <= known
    assert {f for f in known if f.startswith('--')} - named <= {
        '--help', '--out', '--name', '--overwrite', '--quiet', '--data-licence', '--steps',
    }  # fmt: skip


def keys(node: Any, free: tuple[str, ...]) -> Iterator[str]:
    """Yield the keys of a manifest, but not those below names that data gives."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key not in free:
                yield key
                yield from keys(value, free)
    elif isinstance(node, list):
        for value in node:
            yield from keys(value, free)


@pytest.mark.parametrize('manifest', MANIFESTS, ids=lambda path: path.parent.name)
def test_every_key_of_a_shipped_manifest_is_documented(manifest: Path) -> None:
    raw = yaml.safe_load(manifest.read_text(encoding='utf-8'))
    card = raw['training']
    card['taps'] = list(card['taps'].values())
    free = ('settings', 'versions', 'digests', 'licences')
    found = set(keys(raw, free))
    assert {'held_out_twins', 'data_sha256', 'channels'} & found
    assert [key for key in sorted(found) if not re.search(rf'\b{key}\b', FORMAT)] == []


def test_every_fact_of_a_verdict_on_a_precision_is_documented() -> None:
    pytest.importorskip('onnx')
    from ros_ood_monitor.training.precisions import PrecisionVerdict

    assert [f.name for f in fields(PrecisionVerdict) if f'`{f.name}`' not in FORMAT] == []


def test_the_table_of_commands_has_every_verb_once() -> None:
    from ros_ood_monitor.cli.main import VERBS

    named = [verb for row in rows(README, '| `ood_monitor` |') for verb in row[0].split(', ')]
    assert sorted(verb.strip('`') for verb in named) == sorted(VERBS)


def test_decisions_are_numbered_without_gaps_and_short() -> None:
    for number, path in enumerate(DECISIONS, 1):
        text = path.read_text(encoding='utf-8')
        assert path.name.startswith(f'{number:04d}-')
        assert text.startswith(f'# {number}. ')
        assert len(text.splitlines()) <= 40
