"""Labels of bags: files, marker topics, whole bags, and everything that could be meant wrongly."""

from __future__ import annotations

from pathlib import Path
import shutil

import pytest

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.bags.markers import Marked, marked_stretches
from ros_ood_monitor.errors import BagError, CalibrationError, ParameterError
from ros_ood_monitor.evaluation.bags.given import LabelChoice, list_bags
from ros_ood_monitor.evaluation.bags.labels import (
    ALL_ID,
    ALL_OOD,
    Label,
    labels_beside,
    labels_place,
    read_labels,
)
from ros_ood_monitor.evaluation.held_out.recordings import find_held_out
from tests.bag_tools import IMAGE, image_bytes, STORE, STRING, TOPIC, write_bag

BOOL = 'std_msgs/msg/Bool'
SHIPPED = Path(__file__).resolve().parents[1] / 'bags/lunar_orbit/labels.yaml'
WANTED = (
    Label(10.0, 20.5, 'fog', '/front/image_raw', 'run1', 'stamp'),
    Label(1.0, 2.0, 'ood', '', 'run2', 'bag'),
)


def test_yaml_and_csv_say_the_same(tmp_path: Path) -> None:
    as_yaml, as_csv = tmp_path / 'l.yaml', tmp_path / 'l.csv'
    as_yaml.write_text(
        '- {start: 10, end: 20.5, kind: fog, camera: /front/image_raw, bag: run1}\n'
        '- {start: 1, end: 2, bag: run2, time: bag}\n'
    )
    as_csv.write_text(
        '\ufeffstart, end, kind, camera, bag, time\n'
        '10, 20.5, fog, /front/image_raw, run1,\n1, 2, , , run2, bag\n'
    )
    assert read_labels(as_yaml) == read_labels(as_csv) == WANTED


def test_a_clock_may_be_said_once_for_all_labels(tmp_path: Path) -> None:
    file = tmp_path / 'labels.yaml'
    file.write_text(
        'time: bag\nlabels:\n- {start: 1, end: 2}\n- {start: 3, end: 4, time: stamp}\n'
    )
    assert [label.time for label in read_labels(file)] == ['bag', 'stamp']


def test_the_shipped_labels_are_read() -> None:
    (label,) = read_labels(SHIPPED)
    assert (label.kind, label.camera) == ('debris', '/camera/image/compressed')


@pytest.mark.parametrize(
    ('name', 'text', 'words'),
    [
        ('l.yaml', '- {start: 1, end: 2, knd: x}', "did you mean 'kind'"),
        ('l.yaml', '- {start: 2, end: 2}', 'must start before it ends'),
        ('l.yaml', '- {start: soon, end: 2}', "number of seconds, got 'soon'"),
        ('l.yaml', '- {end: 2}', 'start of label 1 must be a number of seconds, got None'),
        ('l.yaml', '- {start: .nan, end: 2}', 'must be a number of seconds'),
        ('l.yaml', '- {start: true, end: 2}', 'must be a number of seconds'),
        ('l.yaml', '- {start: 1, end: 2, time: wall}', "got 'wall'"),
        ('l.yaml', '- {start: 1, end: 2, time: log}', "expected stamp or bag, got 'log'"),
        ('l.yaml', "- {start: 1, end: 2, kind: ''}", 'needs a kind'),
        ('l.yaml', '- 7', 'label 1 must be a mapping'),
        ('l.yaml', 'seven', 'must be a list'),
        ('l.yaml', 'times: bag\nlabels: []', "did you mean 'time'"),
        ('l.yaml', '[}', 'labels are no YAML'),
        ('l.csv', 'start,stop\n1,2\n', "'stop'"),
        ('l.csv', 'start,end\n1,2,3\n', 'cells as the head'),
        ('l.csv', 'start,end\n1\n', 'cells as the head'),
        ('l.csv', '', 'labels have no head: expected a line with start, end, kind'),
        ('l.csv', '\n', 'labels have no head'),
        ('l.yaml', None, 'could not be read'),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, name: str, text: str | None, words: str) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(ParameterError, match=words.replace('(', r'\(')) as error:
        read_labels(file)
    assert str(error.value).endswith(str(file))


# --- which labels are whose ----------------------------------------------------------------------


def folder(path: Path, labels: str | None = None) -> Path:
    path.mkdir(parents=True)
    if labels is not None:
        (path / 'labels.yaml').write_text(labels)
    return path


def test_normal_operation_is_what_labels_name_nothing_in(tmp_path: Path) -> None:
    run = folder(tmp_path / 'run', 'time: bag\nlabels: []')
    beside = run.parent / 'labels.yaml'
    beside.write_text('- {start: 1, end: 2, bag: run}')
    (run / 'run_0.mcap').touch()
    assert [one.path for one in find_held_out([run])] == [run]
    (run / 'labels.yaml').unlink()
    with pytest.raises(CalibrationError, match='recording shows anomalies') as error:
        find_held_out([run])
    assert str(error.value).endswith(str(beside))
    beside.write_text('- {start: 1, end: 2, bag: another}')
    assert [one.path for one in find_held_out([run])] == [run]
    # a file of a bag and its folder; a name that the bag had before
    shutil.copy(SHIPPED.parent / 'bag/metadata.yaml', run)
    (run / 'bag.mcap').touch()
    for name in ('run', 'bag', 'before'):
        (run / 'labels.yaml').write_text(f'- {{start: 1, end: 2, bag: {name}}}')
        for path in (run, run / 'bag.mcap'):
            with pytest.raises(CalibrationError, match='recording shows anomalies'):
                find_held_out([path])
    (run / 'labels.yaml').unlink()
    beside.write_text('[}')
    with pytest.raises(ParameterError, match='labels are no YAML'):
        find_held_out([run])


def test_the_page_takes_the_labels_that_are_evaluated(tmp_path: Path) -> None:
    bag = folder(tmp_path / 'site/bag')
    assert labels_place(bag) == bag / 'labels.yaml'
    (tmp_path / 'site/labels.yaml').write_text('- {start: 1, end: 2}')
    assert labels_place(bag) == labels_beside(bag) == tmp_path / 'site/labels.yaml'
    (bag / 'labels.yaml').write_text('- {start: 1, end: 2}')
    assert labels_place(bag) == labels_beside(bag) == bag / 'labels.yaml'
    file = tmp_path / 'alone.mcap'
    file.touch()
    assert labels_place(file) == tmp_path / 'labels.yaml'


def test_bags_of_one_name_have_labels_by_that_name_where_each_has_its_own(tmp_path: Path) -> None:
    bags = [
        folder(tmp_path / run / 'bag', f'- {{start: {k}, end: 9, bag: bag}}')
        for k, run in enumerate(['r1', 'r2'])
    ]
    given = list_bags(bags, LabelChoice())
    assert [one.name for one in given] == [str(bag) for bag in bags]
    found = [(label.start, label.bag) for one in given for label in one.labels or ()]
    assert found == [(0.0, str(bags[0])), (1.0, str(bags[1]))]
    shared = tmp_path / 'all.yaml'
    choice = LabelChoice(file=shared)
    paths = ''.join(f'- {{start: 1, end: 2, bag: {bag}}}\n' for bag in bags)
    shared.write_text(paths)
    assert [[label.bag for label in one.labels or ()] for one in list_bags(bags, choice)] == [
        [str(bag)] for bag in bags
    ]
    shared.write_text(f'{paths}- {{start: 3, end: 4, bag: bag}}')
    with pytest.raises(ParameterError, match="name a bag 'bag', and several are called so"):
        list_bags(bags, choice)


def test_labels_in_a_bag_go_before_those_beside_it(tmp_path: Path) -> None:
    inside = folder(tmp_path / 'a/run1', '- {start: 1, end: 2, kind: inside}')
    folder(tmp_path / 'b', '- {start: 1, end: 2, kind: beside, bag: run2}')
    beside = folder(tmp_path / 'b/run2')
    first, second = list_bags([inside, beside], LabelChoice())
    assert [one.kind for one in first.labels or ()] == ['inside']
    assert [one.kind for one in second.labels or ()] == ['beside']
    assert [one.name for one in (first, second)] == ['run1', 'run2']


def test_a_bag_given_twice_counts_once_and_equal_names_become_paths(tmp_path: Path) -> None:
    bags = [folder(tmp_path / k / 'run', '[]') for k in 'ab']
    given = list_bags([*bags, tmp_path / 'a/../a/run'], LabelChoice())
    assert [one.name for one in given] == [str(bag) for bag in bags]


def test_whole_bags_need_no_file(tmp_path: Path) -> None:
    quiet, foggy = folder(tmp_path / 'quiet'), folder(tmp_path / 'foggy')
    given = list_bags([], LabelChoice(all_id=(quiet,), all_ood=(foggy,)))
    assert [one.labels for one in given] == [ALL_ID, ALL_OOD]
    with pytest.raises(ParameterError, match='at once'):
        list_bags([], LabelChoice(all_id=(quiet,), all_ood=(quiet,)))


def test_bags_without_labels_are_named_with_the_ways_out(tmp_path: Path) -> None:
    bags = [folder(tmp_path / f'run{k}') for k in range(5)]
    with pytest.raises(ParameterError, match=r'5 of 5 bags have no labels.*--all-id.* and 2 more'):
        list_bags(bags, LabelChoice())
    with pytest.raises(ParameterError, match='at least one bag'):
        list_bags([], LabelChoice())


def test_labels_of_several_bags_must_say_whose_they_are(tmp_path: Path) -> None:
    bags = [folder(tmp_path / 'run1'), folder(tmp_path / 'run2')]
    file = tmp_path / 'all.yaml'
    file.write_text('- {start: 1, end: 2, bag: run1}\n- {start: 1, end: 2}\n')
    with pytest.raises(ParameterError, match='must name their bag'):
        list_bags(bags, LabelChoice(file=file))
    file.write_text('- {start: 1, end: 2, bag: run1}\n')
    with pytest.raises(ParameterError, match=r"do not name the bag 'run2' \(they name run1\)"):
        list_bags(bags, LabelChoice(file=file))
    (quiet,) = bags[1:]
    given = list_bags(bags[:1], LabelChoice(file=file, all_id=(quiet,)))
    assert [len(one.labels or ()) for one in given] == [1, 0]


# --- marker topics -------------------------------------------------------------------------------


def said(kind: str, value: object) -> bytes:
    return bytes(STORE.serialize_cdr(STORE.types[kind](data=value), kind))


def marker_bag(path: Path, kind: str, values: list[tuple[float, object]], **how: str) -> Path:
    rows = [('/mark', kind, time, said(kind, value)) for time, value in values]
    rows += [(TOPIC, IMAGE, 10.0 + k, image_bytes(k, 10.0 + k)) for k in range(8)]
    return write_bag(path, sorted(rows, key=lambda row: row[2]), **how)


@pytest.mark.parametrize('compression', ['none', 'message'])
def test_texts_mark_kinds_until_the_next_one(tmp_path: Path, compression: str) -> None:
    values = [(10.5, 'fog'), (11.5, 'fog'), (12.5, 'dust '), (13.5, ''), (16.5, 'fog')]
    values += [(15.5, 'rock'), (15.5, '')]  # of no length
    bag = marker_bag(tmp_path / 'b', STRING, values, compression=compression)
    with BagReader(bag) as reader:
        found = list(marked_stretches(reader, '/mark', kind='ood'))
    assert found == [
        Marked(10.5, 12.5, 'fog'),
        Marked(12.5, 13.5, 'dust'),
        Marked(16.5, float('inf'), 'fog'),
    ]


def test_true_marks_until_false(tmp_path: Path) -> None:
    values = [(9.0, False), (10.5, True), (11.5, True), (12.5, False)]
    with BagReader(marker_bag(tmp_path / 'b', BOOL, values)) as reader:
        assert list(marked_stretches(reader, '/mark', kind='ood')) == [Marked(10.5, 12.5, 'ood')]


def test_a_topic_that_marks_nothing_is_refused_with_those_that_could(tmp_path: Path) -> None:
    with BagReader(marker_bag(tmp_path / 'b', STRING, [(10.0, 'fog')])) as reader:
        for topic, words in ((TOPIC, f'{TOPIC!r} of type {IMAGE}'), ('/no', "no topic '/no'")):
            with pytest.raises(BagError, match=f'{words}; it has /mark'):
                list(marked_stretches(reader, topic, kind='ood'))


def test_a_damaged_marker_is_refused(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'b', [('/mark', STRING, 1.0, b'\x00\x01\x00\x00\xff\xff\xff\x7f')])
    with (
        BagReader(bag) as reader,
        pytest.raises(BagError, match=r'marker at 1\.0+ s is no std_ms'),
    ):
        list(marked_stretches(reader, '/mark', kind='ood'))
