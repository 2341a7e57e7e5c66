"""What shows how far a verb is leaves the terminal as it found it."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import io
import logging
from pathlib import Path
import re

import pytest

from ros_ood_monitor.cli.console import Console
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.labelling import LabelServer
from tests.tiny_bundle import make_tiny_bundle
from tests.training_tools import write_scenes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def on_terminal() -> Iterator[Terminal]:
    with contextlib.redirect_stderr(Terminal()) as terminal:
        yield terminal


@pytest.mark.parametrize('end', [KeyboardInterrupt, ValueError])
def test_a_counted_line_is_ended_whatever_happens(end: type[BaseException]) -> None:
    with (
        on_terminal() as terminal,
        contextlib.suppress(end),
        Console(quiet=False) as console,
        console.counting() as show,
    ):
        show('reading', '10 frames')
        show('reading', '9 frames')
        raise end
    assert terminal.getvalue() == '\rreading: 10 frames\rreading: 9 frames \n'


def test_warnings_and_other_work_begin_lines_of_their_own() -> None:
    with (
        on_terminal() as terminal,
        Console(quiet=False) as console,
        console.counting() as show,
    ):
        show('the first', '1 of 2')
        logging.getLogger('ros_ood_monitor.somewhere').warning('mind this')
        show('the first', '2 of 2')
        show('the second', '1 of 1')
    assert terminal.getvalue() == (
        '\rthe first: 1 of 2\nwarning: mind this\n\rthe first: 2 of 2\n\rthe second: 1 of 1\n'
    )


def test_elsewhere_it_is_told_once_where_asked_and_never_where_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for quiet, elsewhere in ((False, True), (False, False), (True, True)):
        with Console(quiet=quiet) as console, console.counting(elsewhere=elsewhere) as show:
            for share in ('0%', '50%'):
                show('building', share)
    assert capsys.readouterr().err == 'building\n'


def test_a_bar_is_gone_after_an_error_and_lines_are_written_as_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip('tqdm')

    def items() -> Iterator[int]:
        yield 1
        raise ValueError

    with on_terminal() as terminal, Console(quiet=False) as console:
        with contextlib.suppress(ValueError):
            list(console.progress(items(), 2))
        drawn = terminal.getvalue()
        console.print('a line')
    assert '0/2' in drawn
    assert drawn.endswith('\r')
    assert terminal.getvalue() == drawn
    assert capsys.readouterr().out == 'a line\n'


def test_verbs_end_their_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('rosbags')
    bundle = make_tiny_bundle(tmp_path / 'tiny').path
    known, ood = (write_scenes(tmp_path / name, 3) for name in ('known', 'ood'))
    with on_terminal() as terminal:
        assert main(['evaluate', str(bundle), '--images', str(known), '--ood', str(ood)]) == 0
    assert re.fullmatch(r'(\rknown: \d of 3)+\n(\rood: \d of 3)+\n', terminal.getvalue())
    bag = Path(__file__).resolve().parents[1] / 'bags' / 'lunar_orbit' / 'bag'

    def refuse(_: LabelServer) -> None:
        msg = 'the page cannot be served'
        raise ParameterError(msg)

    monkeypatch.setattr(LabelServer, 'serve_forever', refuse)
    with on_terminal() as terminal:
        assert main(['label', str(bag), '--out', f'{tmp_path}/x.yaml']) == 1
    read, refused = terminal.getvalue().splitlines()[-2:]
    assert re.fullmatch(r'reading: \d+ frames', read)
    assert refused.startswith('ood_monitor: error: ')
