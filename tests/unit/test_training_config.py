"""Training files: every key, its type, presets, and what wins over what."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip('torch')

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.frames.selection import Selection
from ros_ood_monitor.training.settings.config_file import read_config, settings_from, to_yaml
from ros_ood_monitor.training.settings.presets import FlowSettings
from ros_ood_monitor.training.settings.train_settings import PLACES, TrainSettings

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / 'config' / 'training').glob('*.yaml'))


def test_the_shipped_default_file_is_the_defaults() -> None:
    settings = settings_from(read_config(ROOT / 'config' / 'training' / 'default.yaml'))
    assert settings == dataclasses.replace(
        TrainSettings(), selection=Selection(), precisions=('fp32',)
    )


def test_the_shipped_default_file_names_every_setting() -> None:
    named = set(read_config(ROOT / 'config' / 'training' / 'default.yaml'))
    assert named == {field.name for field in dataclasses.fields(TrainSettings)} - set(PLACES)


@pytest.mark.parametrize('file', SHIPPED, ids=lambda file: file.name)
def test_shipped_files_hold_allowed_settings(file: Path) -> None:
    settings_from(read_config(file)).check()


def test_the_file_of_the_paper_is_its_preset() -> None:
    settings = settings_from(read_config(ROOT / 'config' / 'training' / 'fde_paper.yaml'))
    assert settings.flow == FlowSettings.preset('fde_paper')
    assert settings.taps == ('head',)


def test_flags_win_over_the_file() -> None:
    config = {'alpha': 0.05, 'flow': {'preset': 'realnvp', 'couplings': 2}}
    settings = settings_from(config, {'flow.steps': 70, 'alpha': 0.1, 'data': ['frames']})
    assert settings.alpha == 0.1
    assert settings.flow == FlowSettings.preset('realnvp', couplings=2, steps=70)
    assert settings.data == ('frames',)


def test_settings_survive_their_own_file() -> None:
    settings = TrainSettings(
        data=('somewhere',),
        selection=Selection(topics=('/a', '/b'), every=3, end=20.0),
        taps=('blocks.4', 'blocks.5'),
        input_size=192,
        flow=FlowSettings.preset('fde_paper', steps=9),
        precisions=('cpu-int8', 'fp32'),
        near_duplicates=1.5,
    )
    again = settings_from(yaml.safe_load(to_yaml(settings)), {'data': ['somewhere']})
    assert again == settings


def test_the_file_names_no_place_on_this_machine() -> None:
    settings = TrainSettings(data=('/home/me/frames',), weights='/home/me/weights.pth')
    text = to_yaml(settings)
    assert '/home' not in text
    assert 'weights.pth' in text


def test_an_exponent_without_a_point_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / 'training.yaml'
    file.write_text('flow:\n  learning_rate: 1e-4\nnear_duplicates: 2E0\n')
    assert isinstance(read_config(file)['flow']['learning_rate'], str)  # to YAML 1.1
    settings = settings_from(read_config(file))
    assert (settings.flow.learning_rate, settings.near_duplicates) == (1e-4, 2.0)
    with pytest.raises(TrainingError, match="'seed' has the wrong type: expected int"):
        settings_from({'seed': '1e4'})


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({'bakbone': 'x'}, r"expected one of selection, .* got 'bakbone'"),
        ({'flow': {'stepz': 3}}, r"expected one of preset, .* got 'flow\.stepz'"),
        ({'flow': 3}, "'flow' must be a mapping, got 3"),
        ({'alpha': 'little'}, "'alpha' has the wrong type: expected float, got 'little'"),
        ({'seed': 1.5}, "'seed' has the wrong type: expected int, got 1.5"),
        ({'seed': True}, "'seed' has the wrong type: expected int, got True"),
        ({'selection': {'topics': '/a'}}, "'selection.topics' has the wrong type: expected list"),
        ({'input_size': 'big'}, "expected int or null, got 'big'"),
        ({'flow': {'preset': 'glow'}}, r"flow preset is unknown: .* got 'glow'"),
        ({'data': 1, 'seed': 0}, 'data'),
    ],
)
def test_wrong_files_are_refused_with_what_is_allowed(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        settings_from(config)


@pytest.mark.parametrize('key', ['seed', 'flow.seed', 'selection.every', 'unmask.masks'])
def test_a_number_that_no_manifest_may_hold_is_refused(key: str) -> None:
    settings_from({}, {key: 2**63 - 1}).check()
    with pytest.raises(TrainingError, match=f'^{key} out of range: .* got 30001 bits'):
        settings_from({}, {key: 16**7500}).check()


@pytest.mark.parametrize(
    ('text', 'message'),
    [('- 1', 'must be a mapping, got list'), ('a: [', r'no YAML at line \d'), ('\0', 'no YAML')],
)
def test_files_that_are_no_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / 'training.yaml'
    file.write_text(text)
    with pytest.raises(TrainingError, match=rf'{message}.*: {file}$'):
        read_config(file)
    with pytest.raises(TrainingError, match=r'cannot be read .*nowhere'):
        read_config(tmp_path / 'nowhere')
