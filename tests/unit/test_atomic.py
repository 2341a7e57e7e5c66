"""What is written is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ros_ood_monitor.atomic import check_output, new_file, new_folder
from ros_ood_monitor.errors import ParameterError


def test_a_folder_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / 'out'
    with new_folder(target) as folder:
        (folder / 'a').write_text('1')
        assert not target.exists()
    assert (target / 'a').read_text() == '1'
    assert list(tmp_path.iterdir()) == [target]


def test_a_failing_block_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / 'out'
    target.mkdir()
    (target / 'old').write_text('1')

    def fail() -> None:
        with new_folder(target) as folder:
            (folder / 'new').write_text('2')
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in target.iterdir()] == ['old']
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_the_one_that_is_there(tmp_path: Path) -> None:
    target = tmp_path / 'out'
    for text in ('1', '2'):
        with new_folder(target) as folder:
            (folder / text).write_text(text)
    assert [p.name for p in target.iterdir()] == ['2']


def test_a_file_keeps_its_suffix_aside_and_its_place_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / 'deep' / 'table.csv'
    with new_file(target) as aside:
        assert aside.suffix == '.csv'
        aside.write_text('x')
        assert not target.exists()
    assert target.read_text() == 'x'
    assert list(target.parent.iterdir()) == [target]


def test_a_failing_block_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / 'table.csv'
    target.write_text('old')

    def interrupt() -> None:
        with new_file(target) as aside:
            aside.write_text('new')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert target.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_has_the_mode_of_any_other_and_no_thread_meets_another_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as changed:
            changed.setattr(os, 'umask', lambda mask: pytest.fail('asked for the umask'))
            with new_file(tmp_path / 'written') as aside:
                aside.write_text('x')
            with new_file(tmp_path / 'made anew') as aside:
                aside.unlink()
                aside.touch(0o600)
    finally:
        os.umask(before)
    assert {oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()} == {'0o640'}


def test_a_file_that_cannot_be_made_is_refused_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / 'made' / 'with' / 'it.json'
    assert check_output(str(file)) == file
    assert list(tmp_path.iterdir()) == []
    with new_file(file) as aside:
        aside.touch()
    with pytest.raises(
        ParameterError, match=r'^cannot write file .* in /proc\): /proc/no/f.json$'
    ):
        check_output('/proc/no/f.json')
    with pytest.raises(ParameterError, match=r'^cannot write file .*: /.*/it.json/f.json$'):
        check_output(file / 'f.json')
    with pytest.raises(ParameterError, match='it is a folder'):
        check_output(tmp_path)
    with pytest.raises(ParameterError, match=r"expected \.csv, got '\.json'"):
        check_output(file, ('.csv',))
