"""What is written is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ros_ood_monitor.atomic import new_file, new_folder


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
