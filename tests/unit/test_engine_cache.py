"""Built engines on disk: whole or not at all, told apart by what they depend on, damage seen."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
import signal
import subprocess
import sys

import pytest

from ros_ood_monitor.engines.cache import (
    cache_folder,
    EngineFiles,
    Identity,
    PARTS,
    prepare_cache,
    read_engines,
    write_engine,
)
from ros_ood_monitor.errors import EngineError

IDENTITY = Identity(
    onnx={'backbone': 'a', 'scorer': 'b'},
    precision='fp16',
    library='tensorrt',
    version='10.3.0',
    target={'gpu': 'Orin', 'compute_capability': '8.7'},
    options={'batch': [1, 1, 4], 'tf32': False, 'workspace_mib': 0},
)
PLANS = {'backbone': b'the backbone', 'scorer': b'the scorer'}


def write(cache: Path, **changes: object) -> EngineFiles:
    identity = dataclasses.replace(IDENTITY, **changes)  # type: ignore[arg-type]
    return write_engine(cache, identity, PLANS, {'bundle': 'moon'})


def test_what_was_written_is_read_with_all_its_facts(tmp_path: Path) -> None:
    written = write(tmp_path)
    (read,) = read_engines(tmp_path)
    assert read == written
    assert {part: read.plan(part) for part in PARTS} == PLANS
    assert read.about == {'bundle': 'moon'}


@pytest.mark.parametrize(
    'change',
    [
        {'onnx': {'backbone': 'A', 'scorer': 'b'}},
        {'onnx': {'backbone': 'a', 'scorer': 'B'}},
        {'precision': 'fp32'},
        {'library': 'tensorrt_rtx'},
        {'version': '10.7.0'},
        {'target': {'gpu': 'Orin', 'compute_capability': '8.9'}},
        {'options': {'batch': [1, 1, 8], 'tf32': False, 'workspace_mib': 0}},
    ],
)
def test_whatever_it_depends_on_gives_it_another_folder(
    tmp_path: Path, change: dict[str, object]
) -> None:
    assert write(tmp_path).folder != write(tmp_path, **change).folder
    assert len(read_engines(tmp_path)) == 2


def test_the_newest_comes_first(tmp_path: Path) -> None:
    old, new = write(tmp_path), write(tmp_path, version='10.7.0')
    os.utime(old.folder / 'facts.json', (1.0, 1.0))
    assert [found.folder for found in read_engines(tmp_path)] == [new.folder, old.folder]


@pytest.mark.parametrize(
    'damage',
    [
        lambda folder: (folder / 'facts.json').write_text('{"schema": 2'),
        lambda folder: (folder / 'facts.json').write_text('[]'),
        lambda folder: (folder / 'facts.json').write_text('{"schema": 1}'),
        lambda folder: (folder / 'facts.json').unlink(),
        lambda folder: folder.rename(folder.with_name('0' * 24)),
    ],
)
def test_a_folder_without_its_facts_is_passed_over(tmp_path: Path, damage: object) -> None:
    damage(write(tmp_path).folder)  # type: ignore[operator]
    assert read_engines(tmp_path) == []


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda path: path.write_bytes(b'the backbonE'), 'damaged: expected sha256'),
        (lambda path: path.write_bytes(b''), 'damaged: expected sha256'),
        (lambda path: path.unlink(), 'not readable: No such file'),
    ],
)
def test_a_damaged_plan_is_refused_with_the_cure(
    tmp_path: Path, damage: object, message: str
) -> None:
    written = write(tmp_path)
    damage(written.folder / 'backbone.plan')  # type: ignore[operator]
    with pytest.raises(EngineError, match=rf'{message}.* --force: .*backbone\.plan'):
        read_engines(tmp_path)[0].plan('backbone')
    assert written.plan('scorer') == PLANS['scorer']


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(EngineError, match=r'cannot be written: .* --cache: .*file'):
        write(tmp_path / 'file')


_KILLED = """
from pathlib import Path
import sys, time
from ros_ood_monitor.engines.cache import write_engine
from tests.unit.test_engine_cache import IDENTITY

class Plans:
    asked = 0

    def __getitem__(self, part):
        self.asked += 1
        if self.asked == 4:  # both were digested, the first one is written
            print('half way', flush=True)
            time.sleep(60)
        return b'plan'

write_engine(Path(sys.argv[1]), IDENTITY, Plans(), {})
"""


def test_a_writer_that_is_killed_leaves_no_engine(tmp_path: Path) -> None:
    command = [sys.executable, '-c', _KILLED, str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == 'half way\n'
        process.send_signal(signal.SIGKILL)
    assert list(tmp_path.rglob('backbone.plan'))  # it had begun
    assert read_engines(tmp_path) == []
    assert write(tmp_path).plan('backbone') == PLANS['backbone']

    (left,) = (path for path in tmp_path.iterdir() if path.name.startswith('.'))
    keep = [tmp_path / '.of_others.x', tmp_path / '.timing.tensorrt-10.abc.cache']
    for path in keep:
        path.touch()
    prepare_cache(tmp_path)
    assert left.exists(), 'it may still be at work'
    for path in (left, *keep):
        os.utime(path, (1.0, 1.0))
    prepare_cache(tmp_path)
    assert [path for path in (left, *keep) if path.exists()] == keep[:1]
    assert [engine.is_whole for engine in read_engines(tmp_path)] == [True]


def test_a_folder_that_takes_no_files_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(EngineError, match=r'cannot be written: .* --cache: .*file'):
        prepare_cache(tmp_path / 'file')
    prepare_cache(tmp_path / 'new')
    assert not list((tmp_path / 'new').iterdir())


@pytest.mark.parametrize(
    ('environment', 'expected'),
    [
        ({'OOD_MONITOR_ENGINES': '/e', 'XDG_CACHE_HOME': '/x'}, '/e'),
        ({'XDG_CACHE_HOME': '/x'}, '/x/ood_monitor/engines'),
        ({'HOME': '/h'}, '/h/.cache/ood_monitor/engines'),
    ],
)
def test_the_folder_is_named_or_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in ('OOD_MONITOR_ENGINES', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == expected
    assert cache_folder('/given') == Path('/given')
