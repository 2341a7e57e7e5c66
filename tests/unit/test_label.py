"""Marking stretches of a bag: the file, the server over real HTTP, the page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import errno
import fcntl
import http.client
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.bundle import Bundle, write_bundle
from ros_ood_monitor.bundle.goldens import Goldens
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.bags.labels import Label, read_labels
from ros_ood_monitor.evaluation.labelling import (
    LabelFile,
    LabelServer,
    read_recording,
    Recording,
)
from ros_ood_monitor.evaluation.labelling import recording as recording_module
from tests.browser import browser
from tests.interrupts import heed_interrupts
from tests.tiny_bundle import make_tiny_bundle

START = 1_800_000_000.0


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras at 10 Hz; red in a corner tells a picture's number."""
    path = tmp_path_factory.mktemp('bags') / 'run'
    rng = np.random.default_rng(3)
    with BagWriter(path) as writer:
        for k in range(50):
            rgb = rng.integers(100, 156, (60, 90, 3), np.uint8)
            if 20 <= k < 30:
                rgb[..., 2] = rng.integers(0, 30, (60, 90), np.uint8)
            rgb[:16, :16, 0] = 4 * k
            stamp = START + 0.1 * k + 3e-7 * (k % 3)  # labels are kept to the microsecond
            writer.write_image('/front/image_raw', rgb, stamp)
            writer.write_image('/rear/image_raw', rgb, stamp + 0.05)
    return path


@pytest.fixture(scope='module')
def recording(bag: Path, bundle: Bundle) -> Iterator[Recording]:
    with read_recording(bag, bundle, open_engine(bundle)) as recording:
        yield recording


@pytest.fixture
def server(recording: Recording, tmp_path: Path) -> Iterator[LabelServer]:
    labels = LabelFile(tmp_path / 'labels.yaml', recording.name)
    with LabelServer(labels) as server:
        server.recording = recording
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: LabelServer,
    path: str,
    *,
    body: bytes | None = None,
    token: str | None = None,
    **headers: str,
) -> tuple[int, bytes]:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    whole = f'/{server.token if token is None else token}/{path}'
    sent = {name.replace('_', '-'): value for name, value in headers.items()}
    if body is not None:
        sent.setdefault('Content-Type', 'application/json')
    connection.request('GET' if body is None else 'POST', whole, body=body, headers=sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def post(server: LabelServer, rows: Any) -> int:
    return ask(server, 'labels', body=json.dumps(rows).encode())[0]


def test_only_who_has_the_address_is_answered(server: LabelServer) -> None:
    assert server.server_address[0] == '127.0.0.1'
    assert len(server.token) >= 32
    for path in ('', 'data', 'label.js', 'label.css'):
        assert ask(server, path)[0] == 200
    for wrong in ('', 'x', server.token[:-1], server.token + 'x', '..'):
        assert ask(server, 'data', token=wrong)[0] == 403
    assert ask(server, 'data', Host='evil.example')[0] == 403
    assert ask(server, 'labels', body=b'[]', token='x')[0] == 403
    assert ask(server, '../../etc/passwd')[0] == 404
    assert ask(server, 'label_file.py')[0] == 404


def test_data_and_pictures_are_those_of_the_bag(server: LabelServer, bundle: Bundle) -> None:
    data = json.loads(ask(server, 'data')[1])
    assert (data['bag'], data['start'], data['labels']) == ('run', START, [])
    assert [camera['name'] for camera in data['cameras']] == ['front', 'rear']
    front = data['cameras'][0]
    assert front['shown'] == pytest.approx(0.1 * np.arange(50), abs=1e-5)
    assert len(front['y']) == 50
    assert front['scores'] == front['y']
    assert data['threshold'] == bundle.calibration('fp32').operating_point.trigger
    for place in (0, 17, 49):
        status, jpeg = ask(server, f'picture?camera=1&place={place}')
        assert status == 200
        rgb = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert rgb[4:12, 4:12, 0].mean() == pytest.approx(4 * place, abs=12)
    for wrong in ('camera=0&place=50', 'camera=2&place=0', 'camera=-1&place=0'):
        assert ask(server, f'picture?{wrong}')[0] == 404
    assert ask(server, 'picture?camera=x')[0] == 400


def test_saved_labels_are_what_evaluate_reads(server: LabelServer) -> None:
    rows = [
        {'start': START + 2.0, 'end': START + 3.0, 'kind': 'fog "\n: é', 'camera': ''},
        {'start': START + 1.0, 'end': START + 1.5, 'kind': 'ood', 'camera': '/rear/image_raw'},
    ]
    assert post(server, rows) == 200
    found = read_labels(server.labels.path)
    assert found == (
        Label(START + 1.0, START + 1.5, 'ood', '/rear/image_raw', 'run'),
        Label(START + 2.0, START + 3.0, 'fog "\n: é', '', 'run'),
    )
    assert len(json.loads(ask(server, 'data')[1])['labels']) == 2
    # an empty file would say that nothing foreign is seen, and there was none before
    assert post(server, []) == 200
    assert not server.labels.path.exists()
    server.labels.path.write_text('[]')
    assert LabelFile(server.labels.path, 'run').save([]) == 0
    assert read_labels(server.labels.path) == ()


@pytest.mark.parametrize(
    'body',
    [
        b'{', b'{}', b'[1]', b'[{"start": 1}]', b'[{"start": 2, "end": 1}]',
        b'[{"start": NaN, "end": 1}]', b'[{"start": 0, "end": Infinity}]',
        b'[{"start": true, "end": 2}]', b'[{"start": 0, "end": 1, "kind": ""}]',
        b'[{"start": 0, "end": 1, "kind": 5}]', b'[{"start": 0, "end": 1, "time": "log"}]',
        b'\xff', b'[' * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_list_of_labels_changes_nothing(server: LabelServer, body: bytes) -> None:
    assert post(server, [{'start': 1.0, 'end': 2.0}]) == 200
    before = server.labels.path.read_bytes()
    assert ask(server, 'labels', body=body)[0] == 400
    assert server.labels.path.read_bytes() == before


def test_forms_of_other_pages_and_floods_are_refused(server: LabelServer) -> None:
    form = {'Content_Type': 'text/plain'}
    assert ask(server, 'labels', body=b'[]', **form)[0] == 415
    assert ask(server, 'labels', body=b'', Content_Length='999999999')[0] == 413
    assert ask(server, 'data', body=b'[]')[0] == 404
    assert not server.labels.path.exists()


def test_labels_of_other_bags_stay_and_other_clocks_become_stamps(tmp_path: Path) -> None:
    path = tmp_path / 'all.yaml'
    path.write_text(
        '- {start: 1, end: 2, kind: fog, bag: other, time: bag}\n'
        '- {start: 3, end: 4, bag: run, time: bag}\n'
    )
    file = LabelFile(path, 'run')
    rows = [{'start': START + 3.0, 'end': START + 4.0, 'kind': 'ood', 'camera': ''}]
    assert file.plain(START) == rows
    file.save(rows)
    assert file.plain(START) == rows
    assert read_labels(path) == (
        Label(START + 3.0, START + 4.0, 'ood', '', 'run'),
        Label(1.0, 2.0, 'fog', '', 'other', 'bag'),
    )
    with pytest.raises(ParameterError, match=r'expected \.yaml'):
        LabelFile(tmp_path / 'labels.csv', 'run')
    new = LabelFile(tmp_path / 'new/labels.yaml', 'run')
    new.save(rows)
    assert read_labels(new.path) == (Label(START + 3.0, START + 4.0, 'ood', '', 'run'),)


def test_two_pages_on_one_file_keep_each_others_labels(tmp_path: Path) -> None:
    path = tmp_path / 'labels.yaml'
    front, rear = (LabelFile(path, name) for name in ('front', 'rear'))
    row = {'start': START, 'end': START + 1.0}
    front.save([row])
    rear.save([row])
    assert sorted(label.bag for label in read_labels(path)) == ['front', 'rear']
    front.save([])
    assert [label.bag for label in read_labels(path)] == ['rear']
    path.write_text('[}')  # by hand, meanwhile
    with pytest.raises(ParameterError, match='labels are no YAML'):
        front.save([row])
    assert path.read_text() == '[}'
    path.write_text('[]')
    front.save([])
    assert not path.exists()  # none was there before


def test_pages_that_save_at_once_lose_nothing(tmp_path: Path) -> None:
    names = [f'run{k}' for k in range(8)]
    pages = [LabelFile(tmp_path / 'labels.yaml', name) for name in names]
    with ThreadPoolExecutor(len(pages)) as pool:  # each has a lock of its own but for the file's
        list(pool.map(lambda page: page.save([{'start': 1.0, 'end': 2.0}]), pages))
    assert sorted(label.bag for label in read_labels(pages[0].path)) == names


def test_a_file_system_without_locks_keeps_labels_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, 'flock', refuse)
    file = LabelFile(tmp_path / 'labels.yaml', 'run')
    assert file.save([{'start': 1.0, 'end': 2.0}]) == 1
    assert read_labels(file.path) == (Label(1.0, 2.0, bag='run'),)


def test_a_broken_file_of_labels_is_told_before_the_bag_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'labels.yaml'
    out.write_text('[}')
    assert main(['label', str(tmp_path / 'no_bag'), '--out', str(out)]) == 1
    assert 'labels are no YAML' in capsys.readouterr().err


def test_long_bags_show_fewer_pictures_and_every_score(
    bag: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_module, '_MOST_PICTURES', 20)
    with read_recording(bag, bundle, open_engine(bundle)) as few:
        for camera in few.cameras:
            assert len(camera.raw_score) == len(camera.stamp) == 50
            assert 8 <= len(camera.shown) <= 12
        shown = few.facts()['cameras'][0]['shown']
    assert max(np.diff(shown)) < 0.65


def test_the_verb_serves_until_ctrl_c(bag: Path, tmp_path: Path) -> None:
    out = tmp_path / 'mine.yaml'
    command = [sys.executable, '-m', 'ros_ood_monitor', 'label', str(bag), '--out', str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert first.startswith('open http://127.0.0.1:')
        address = urlsplit(first.split()[1])
        connection = http.client.HTTPConnection(address.netloc, timeout=60)
        connection.request(
            'POST', f'{address.path}labels', b'[{"start": 1, "end": 2}]',
            {'Content-Type': 'application/json'},
        )  # fmt: skip
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert f'1 label in {out}' in said
    assert read_labels(out) == (Label(1.0, 2.0, bag='run'),)


def test_an_engine_that_does_not_reproduce_the_goldens_scores_nothing(
    bag: Path, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: bundle.read(name) for name in bundle.manifest.digests}
    goldens = bundle.goldens()
    files['goldens.fp32.npz'] = Goldens(goldens.image, goldens.raw_score + 100.0).to_bytes()
    other = write_bundle(tmp_path / 'other', manifest=bundle.manifest.raw, files=files)
    out = str(tmp_path / 'x.yaml')
    assert main(['label', str(bag), '--out', out, '--bundle', str(other.path)]) == 1
    assert 'build or choose another engine' in capsys.readouterr().err


def test_a_wrong_place_or_port_is_refused(
    bag: Path, server: LabelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['label', str(bag), '--out', str(tmp_path / 'x.csv')]) == 1
    assert 'expected .yaml' in capsys.readouterr().err
    port = str(server.server_address[1])
    out = str(tmp_path / 'x.yaml')
    # before the bag is read
    assert main(['label', str(tmp_path / 'no_bag'), '--out', out, '--port', port]) == 1
    assert 'choose another --port' in capsys.readouterr().err
    assert main(['label', str(tmp_path / 'no_bag')]) == 1
    capsys.readouterr()
    for option in (['--engine', 'auto'], ['--precision', 'fp99'], ['--threads', '1']):
        assert main(['label', str(bag), *option]) == 2
        assert f'{option[0]} is of the bundle that scores' in capsys.readouterr().err


def test_a_frame_without_an_answer_is_shown_as_such(
    server: LabelServer, recording: Recording
) -> None:
    scores = recording.cameras[0].raw_score
    kept, scores[1] = scores[1], float('nan')
    try:
        with browser() as tab:
            tab.open(server.url, 1100, 800)
            tab.press('ArrowRight')
            tab.wait('document.getElementById("score").textContent === "no answer"')
            tab.press('ArrowRight')
            tab.wait('document.getElementById("score").textContent.startsWith("raw_score ")')
            assert tab.problems == []
    finally:
        scores[1] = kept


def test_a_row_goes_to_the_first_frame_of_its_label(
    server: LabelServer, recording: Recording
) -> None:
    stamps = recording.cameras[0].stamp[5:25]  # as the keys make them: half a period around
    server.labels.save([{'start': one - 0.05, 'end': one + 0.05} for one in stamps])
    row = 'document.querySelectorAll("#labels tr")'
    with browser() as tab:
        tab.open(server.url, 1100, 800)
        for k in range(20):
            tab.run(f'{row}[{k}].click()')
            time = tab.run('document.getElementById("time").textContent')
            assert time == f'{0.1 * (5 + k):.3f} s'
        assert tab.problems == []


def test_keys_in_a_browser_make_a_label_that_evaluate_finds(
    server: LabelServer, bundle: Bundle, bag: Path, tmp_path: Path
) -> None:
    with browser() as tab:
        tab.open(server.url, 1100, 800)
        tab.press('n')
        tab.wait('document.getElementById("time").textContent === "2.000 s"')
        tab.press('i')
        for _ in range(9):
            tab.press('ArrowRight')
        tab.press('o')
        tab.wait('document.getElementById("status").textContent.startsWith("1 label saved")')
        assert tab.run('document.querySelectorAll("#labels tr").length') == 1
        tab.wait('document.getElementById("picture").naturalWidth === 90')
        tab.press('Delete')
        tab.wait('document.getElementById("status").textContent.startsWith("0 labels saved")')
        tab.press('u')
        tab.wait('document.getElementById("status").textContent.startsWith("1 label saved")')
        picture = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        assert picture.std() > 20
        assert tab.problems == []
    (label,) = read_labels(server.labels.path)
    assert (label.start, label.end) == pytest.approx((START + 1.95, START + 2.95), abs=1e-4)
    out = tmp_path / 'e.json'
    command = ['evaluate', str(bundle.path), str(bag), '--no-cache', '--json', str(out)]
    assert main([*command, '--labels', str(server.labels.path), '--ignore-margin', '0.5']) == 0
    found = json.loads(out.read_text())
    assert found['together']['frames']['ood_frames'] == 20  # ten of each camera
    assert found['together']['events']['found'] == 2
