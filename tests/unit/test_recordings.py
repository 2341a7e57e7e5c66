"""Recordings in the hands of people: listed, marked, and trained on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from ros_ood_monitor.cli.main import main
from ros_ood_monitor.errors import BagError, ParameterError, TrainingError
from ros_ood_monitor.recorder import find_recordings, mark_recording, Recording
from ros_ood_monitor.records import State
from tests.bag_tools import frames_bag, picture
from tests.recorder_tools import Robot


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    """Four recordings of six frames each."""
    robot = Robot(tmp_path / 'recordings', after=0.2)
    for start in (10.0, 20.0, 30.0, 40.0):
        robot.drive(start, start + 0.3)
        robot.drive(start + 0.3, start + 0.4, State.ALERT)
        robot.drive(start + 0.4, start + 1.0)
    return robot.stop()


def test_mark_is_written_into_the_summary_and_nothing_else_changes(recordings: list[Path]) -> None:
    path = recordings[0]
    before = Recording.load(path).facts
    assert (before['mark'], Recording.load(path).mark) == (None, '')
    mark_recording(path, 'id', note='sun in the lens, näh')
    after = Recording.load(path)
    assert after.mark == 'id'
    assert after.facts['mark'].keys() == {'shows', 'note', 'time'}
    assert after.facts['mark']['note'] == 'sun in the lens, näh'
    assert {**after.facts, 'mark': None} == before
    assert mark_recording(path, 'ood').mark == 'ood'  # somebody looked again
    assert mark_recording(path, '').facts == before
    assert [f.name for f in path.iterdir() if f.name.startswith('.')] == []


def test_marks_of_another_kind_and_folders_that_are_no_recording_are_refused(
    recordings: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match="expected one of id, ood, got 'normal'"):
        mark_recording(recordings[0], 'normal')
    bag = frames_bag(tmp_path / 'bag')
    with pytest.raises(BagError, match='no recording of an alert'):
        mark_recording(bag, 'id')
    summary = recordings[1] / 'recording.json'
    for content, match in (
        ('{', 'damaged'),
        ('[]', "got 'list'"),
        ('{"format": "ros_ood_monitor recording 9"}', 'recording 9'),
    ):
        summary.write_text(content)
        with pytest.raises(BagError, match=match):
            mark_recording(recordings[1], 'id')
        assert summary.read_text() == content
    with pytest.raises(BagError, match='no such folder'):
        find_recordings([tmp_path / 'none'])
    with pytest.raises(BagError, match='no recording found'):
        find_recordings([bag])


def test_folders_are_searched_and_each_recording_found_once(
    recordings: list[Path], tmp_path: Path
) -> None:
    found = find_recordings([tmp_path, recordings[0], recordings[0].parent])
    assert [recording.path for recording in found] == recordings


def test_command_marks_several_and_lists_them(
    recordings: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(recordings[0].parent)
    assert main(['mark', str(recordings[0]), str(recordings[1]), '--id', '--note', 'dust']) == 0
    assert main(['mark', str(recordings[2]), '--ood']) == 0
    capsys.readouterr()
    assert main(['mark', folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ['id', 'id', 'ood', '-']
    assert '6 frames in 0.5 s, peak 113 over 5' in lines[0]
    assert lines[0].endswith(f'{recordings[0]}  (dust)')
    assert main(['mark', str(recordings[0]), '--unmark']) == 0
    assert Recording.load(recordings[0]).mark == ''


def test_command_marks_all_or_none_and_no_folder_of_recordings(
    recordings: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['mark', str(recordings[0]), str(recordings[0].parent), '--id']) == 1
    assert 'no recording of an alert' in capsys.readouterr().err
    assert Recording.load(recordings[0]).mark == ''
    for alone in ([], ['--unmark']):
        assert main(['mark', str(recordings[0]), '--note', 'hm', *alone]) == 2
        assert 'expected --id or --ood' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(['mark', str(recordings[0]), '--id', '--ood'])


def test_list_takes_summaries_that_say_little(
    recordings: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    summary = recordings[0] / 'recording.json'
    summary.write_text(json.dumps({'format': 'ros_ood_monitor recording 1', 'ended': 'cut off'}))
    assert main(['mark', str(recordings[0])]) == 0
    assert capsys.readouterr().out == f'-    ?  cut off  {recordings[0]}\n'


@pytest.mark.parametrize('silent', [0, 1])
def test_list_tells_the_peak_of_the_cameras_that_have_one(
    recordings: list[Path], capsys: pytest.CaptureFixture[str], silent: int
) -> None:
    summary = recordings[0] / 'recording.json'
    facts = json.loads(summary.read_text())
    cameras = [dict(facts['cameras'][0]) for _ in range(2)]
    cameras[silent]['peak'] = None
    summary.write_text(json.dumps({**facts, 'cameras': cameras}))
    assert main(['mark', str(recordings[0])]) == 0
    assert 'peak 113 over 5' in capsys.readouterr().out
    cameras[1 - silent]['peak'] = None
    summary.write_text(json.dumps({**facts, 'cameras': cameras}))
    assert main(['mark', str(recordings[0])]) == 0
    assert 'frames in 0.5 s, no score' in capsys.readouterr().out


# training ---------------------------------------------------------------------------------------


def test_only_recordings_marked_as_in_distribution_are_added_and_the_others_named(
    recordings: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip('torch')
    from ros_ood_monitor.training.frames.marked import marked_recordings

    folder = recordings[0].parent
    with pytest.raises(TrainingError, match=r'4 not marked .*; look at them'):
        marked_recordings([folder])
    mark_recording(recordings[1], 'id')
    mark_recording(recordings[2], 'ood')
    assert marked_recordings([folder]) == [recordings[1]]
    assert caplog.messages == [
        f'recordings not added: 2 not marked ({recordings[0].name}, {recordings[3].name}); '
        f'1 marked as OOD ({recordings[2].name})'
    ]
    with pytest.raises(TrainingError, match='no such folder'):
        marked_recordings([folder / 'none'])


def test_recording_is_a_sequence_of_the_trainer(
    recordings: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip('torch')
    from ros_ood_monitor.training.frames.datasets import Dataset

    mark_recording(recordings[0], 'id')
    dataset = Dataset([recordings[0]])
    items = list(dataset.items(0))
    assert len(items) == 6
    assert (items[0].decode().rgb == picture(100)).all()
    assert not caplog.messages
    Dataset([recordings[0].parent])
    assert caplog.messages == [
        '3 recordings of alerts that nobody has marked as in-distribution will be trained on as '
        f'normal ({", ".join(f"recordings/{path.name}" for path in recordings[1:])}); give their '
        'folder to --add instead'
    ]


def test_train_adds_marked_recordings_to_the_data(
    recordings: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('torch')
    (tmp_path / 'frames').mkdir()
    for k in range(3):
        cv2.imwrite(str(tmp_path / 'frames' / f'{k}.png'), picture(k))
    command = [
        *('train', '--data', str(tmp_path / 'frames'), '--add', str(recordings[0].parent)),
        *('--out', str(tmp_path / 'bundle')),
    ]
    assert main(command) == 1
    assert 'no recording to add is marked' in capsys.readouterr().err
    mark_recording(recordings[0], 'id')
    mark_recording(recordings[1], 'id')
    assert main(command) == 1
    said = capsys.readouterr().err
    assert '2 not marked' in said
    assert 'got 15' in said  # too few, 6 of each recording among them
