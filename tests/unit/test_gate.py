"""Gates: limits are kept or told, and names that lead nowhere are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.gate import check_gate, Limit, read_gate

FACTS: dict[str, Any] = {
    'schema': 1,
    'bundle': {'name': 'tiny'},
    'together': {
        'frames': {'auroc': 0.93, 'auroc_95': [0.9, 0.96], 'aupr': None, 'aupr_95': None},
        'events': {'time_to_alert': {'median': 0.4, 'count': 3}},
    },
    'bags': [{'name': 'run.1', 'events': {'found_share': 0.5}}],
    'failed': [],
    'ok': True,
}


def gate(path: Path, text: str) -> dict[str, Limit]:
    file = path / 'gate.yaml'
    file.write_text(text)
    return read_gate(file)


def test_limits_that_are_kept_leave_nothing_to_say(tmp_path: Path) -> None:
    limits = gate(
        tmp_path,
        'together.frames.auroc: {min: 0.93}\n'
        'together.frames.auroc_95.low: {min: 0.9, max: 0.9}\n'
        'together.events.time_to_alert.median: {max: 1}\n'
        'bags.run.1.events.found_share: {min: 0.5}\n',
    )
    assert check_gate(FACTS, limits) == []


def test_what_falls_short_is_told_with_measured_limit_and_distance(tmp_path: Path) -> None:
    limits = gate(
        tmp_path,
        'together.frames.auroc: {min: 0.95}\n'
        'together.events.time_to_alert.median: {min: 0.1, max: 0.25}\n'
        'together.frames.aupr: {min: 0.1}\n'
        'together.frames.aupr_95.low: {min: 0.1}\n',
    )
    assert [str(one) for one in check_gate(FACTS, limits)] == [
        'together.frames.auroc: 0.93, needed at least 0.95; missed by 0.02',
        'together.events.time_to_alert.median: 0.4, needed at least 0.1 and at most 0.25; '
        'missed by 0.15',
        'together.frames.aupr: not measured, needed at least 0.1',
        'together.frames.aupr_95.low: not measured, needed at least 0.1',
    ]


@pytest.mark.parametrize(
    'name', ['together.frames.auroch', 'auroc', 'bundle.name', 'ok', 'bags.0', 'together.frames']
)
def test_a_name_that_leads_to_no_figure_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match=f'unknown figure: {name!r}'):
        check_gate(FACTS, gate(tmp_path, f'{name}: {{min: 0}}'))


def test_near_names_are_offered(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r'near it: together\.frames\.auroc,'):
        check_gate(FACTS, gate(tmp_path, 'together.frame.auroc: {min: 0}'))


@pytest.mark.parametrize(
    'text',
    [
        '', '[]', '7', '{', 'a: 7', 'a: {}', 'a: {least: 1}', 'a: {min: high}', 'a: {min: .nan}',
        'a: {min: true}', 'a: {min: 2, max: 1}',
    ],
)  # fmt: skip
def test_a_gate_that_could_let_anything_through_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ParameterError, match=r'gate\.yaml$'):
        gate(tmp_path, text)


def test_a_gate_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match='could not be read'):
        read_gate(tmp_path / 'gate.yaml')
