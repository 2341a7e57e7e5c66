"""The command: every verb is there, refusals are one line, exit codes are as documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli.main import main, make_parser, VERBS
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


def test_help_lists_every_verb_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(['--help'])
    assert stop.value.code == 0
    listed = capsys.readouterr().out
    for verb in VERBS:
        assert any(
            line.split()[:1] == [verb] and len(line.split()) > 3 for line in listed.splitlines()
        )


@pytest.mark.parametrize('verb', VERBS)
def test_every_verb_and_option_has_a_help_text(verb: str) -> None:
    parser = make_parser()
    choices = next(a.choices for a in parser._actions if a.choices and verb in a.choices)
    stack = [choices[verb]]
    while stack:
        for action in stack.pop()._actions:
            assert action.help, f'{verb} {action.option_strings or action.dest}'
            if isinstance(action.choices, dict):
                stack.extend(action.choices.values())


def test_inspect_prints_the_card(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', str(bundle.path)]) == 0
    card = capsys.readouterr().out
    assert bundle.digest in card
    assert 'false-alarm rate per hour: NOT established' in card


def test_inspect_gives_the_manifest_as_json(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['inspect', '--json', str(bundle.path)]) == 0
    assert json.loads(capsys.readouterr().out)['digest'] == bundle.digest


def test_verify_proves_the_engine(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['verify', str(bundle.path)]) == 0
    assert 'reproduces' in capsys.readouterr().out


def test_doctor_opens_a_bundle(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['doctor', str(bundle.path)]) == 0
    out = capsys.readouterr().out
    assert 'engine onnxruntime' in out
    assert 'ms per frame' in out


def test_a_refusal_is_one_line_and_exit_code_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['inspect', str(tmp_path / 'nowhere')]) == 1
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.startswith('ood_monitor: error: bundle not found')
    assert captured.err.count('\n') == 1


def test_wrong_usage_is_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(['no-such-verb'])
    assert stop.value.code == 2
    assert 'invalid choice' in capsys.readouterr().err


def test_a_shipped_bundle_goes_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', 'lunar_orbit']) == 0
    assert 'blocks.3' in capsys.readouterr().out
