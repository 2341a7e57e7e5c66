"""The training report: self-contained, whole or not there, and silent about what is missing."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
import json
import math
from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('matplotlib')

from matplotlib.figure import Figure

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.training.report import write_report
from ros_ood_monitor.training.report.data import (
    CalibrationRow,
    Look,
    PrecisionRow,
    ReportData,
    SequenceRow,
    SheetImage,
    TapReport,
    TimingRow,
)
from ros_ood_monitor.training.report.figures import draw_all
from ros_ood_monitor.training.report.figures.pictures import PART_COLOURS
from tests.training_tools import scene

RNG = np.random.default_rng(0)
FLOW = TapReport(
    'blocks.5', 192, 32, 'flow', step=20, steps=40,
    looks=[Look(0, 5.0, 6.0, 0.8), Look(20, 4.0, 5.5, 0.85), Look(40, 2.0, 9.0, 0.7),
           Look(60, -3.0, math.inf, math.nan)],
    held_out=RNG.normal(0.0, 1.0, 50), pseudo_ood={'blur': RNG.normal(4.0, 1.0, 30)},
)  # fmt: skip
CLOSED = TapReport('head', 1280, 32, 'mahalanobis', looks=[Look(0, nll=1.0)])
FULL = ReportData(
    'moon <v3>', 'ab12' * 16, limits=['no rate per hour'],
    sequences=[SequenceRow('bag_0', 70, 10, 20)], skipped=['a<b>.png: truncated'], duplicates=4,
    split='block', data_sha256='cd' * 32,
    sheet=[SheetImage(scene(k), part, 'drive/bag_0', f'{k}.5 s')
           for k, part in enumerate(('fit', 'calibration', ''))],
    examples={'blur': np.stack([scene(0), scene(1)]), 'phase': scene(2)[np.newaxis]},
    backbone={'name': 'lite0', 'input': {'height': 224}}, taps=[FLOW, CLOSED],
    unit='z', warnings=['the trigger hangs on <1> frame'],
    calibrations=[
        CalibrationRow('cpu-int8', RNG.normal(0.0, 1.0, 99), {'blur': RNG.normal(5.0, 1.0, 30)},
                       2.5, 2.0, 0.01),
        CalibrationRow('fp32', RNG.normal(9.0, 1.0, 99), {'blur': RNG.normal(11.6, 1.0, 30)},
                       11.5, 11.0, 0.01),
    ],
    precisions=[PrecisionRow('fp32', 13_000_000, auroc_by_kind={'blur': 0.99, 'phase': 0.93}),
                PrecisionRow('cpu-int8', 4_000_000, auroc_by_kind={'blur': 0.97, 'phase': 0.93},
                             accepted=False, reason='AUROC drops by 0.02 & more')],
    judged_on='On 12 validation frames.',
    timings=[TimingRow('features', 2.0, 100, decoded=150), TimingRow('export', 1.0)],
    settings={'flow': {'steps': 2000}, 'topics': []}, versions={'torch': '2'},
    licences={'code': 'Apache-2.0'},
)  # fmt: skip
SECTIONS = ['data', 'backbone', 'training', 'features', 'calibration', 'precisions', 'timings',
            'settings', 'versions']  # fmt: skip


class Page(HTMLParser):
    """What a browser would load, the sections, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.references: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == 'section':
            self.sections.append(str(values['id']))
        self.references += [v for k, v in attrs if k in ('src', 'href', 'srcset') and v]
        if tag not in ('meta', 'img', 'link', 'br'):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def written(folder: Path, data: ReportData) -> tuple[str, dict[str, Any]]:
    page = write_report(folder, data)
    return page.read_text(), json.loads((folder / 'report.json').read_text())


@pytest.fixture(scope='module')
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a report with everything; only read."""
    return write_report(tmp_path_factory.mktemp('full') / 'report', FULL).parent


def test_full_report_has_every_section_and_needs_nothing_but_itself(full: Path) -> None:
    text = (full / 'index.html').read_text()
    page = Page(text)
    assert page.sections == SECTIONS
    assert page.open == []
    assert all(link.startswith(('data:image/png;base64,', '#')) for link in page.references)
    assert 'http' not in re.sub(r'base64,[^"]*', '', text)
    assert '@import' not in text
    assert 'url(' not in text


def test_every_figure_lies_beside_the_page_as_a_picture(full: Path) -> None:
    names = sorted(path.name for path in full.glob('*.png'))
    assert names == [
        'calibration.png',
        'contact_sheet.png',
        'curve_0_blocks_5.png',
        'pseudo_ood.png',
        'scores_0_blocks_5.png',
    ]
    for name in names:
        picture = cv2.imread(str(full / name))
        assert picture is not None
        assert picture.std() > 5.0, name


def test_equal_data_give_equal_bytes(full: Path, tmp_path: Path) -> None:
    again = write_report(tmp_path / 'again', FULL).parent
    assert {path.name for path in again.iterdir()} == {path.name for path in full.iterdir()}
    for path in full.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_text_of_the_user_is_never_markup(full: Path) -> None:
    text = (full / 'index.html').read_text()
    assert 'moon &lt;v3&gt;' in text
    assert 'a&lt;b&gt;.png' in text
    assert 'AUROC drops by 0.02 &amp; more' in text
    assert '<v3>' not in text


def test_missing_parts_leave_their_sections_out(tmp_path: Path) -> None:
    text, numbers = written(tmp_path / 'report', ReportData('m', 'd'))
    page = Page(text)
    assert page.sections == []
    assert page.open == []
    assert list((tmp_path / 'report').glob('*.png')) == []
    assert numbers['calibrations'] == []


def test_closed_forms_alone_have_no_curve_but_their_facts(tmp_path: Path) -> None:
    text, _ = written(tmp_path / 'report', ReportData('m', 'd', taps=[CLOSED]))
    assert Page(text).sections == ['backbone']
    assert 'mahalanobis' in text


def test_tap_without_pseudo_ood_is_drawn_all_the_same(tmp_path: Path) -> None:
    looks = [Look(step, nll=1.0 + step) for step in (0, 10)]
    tap = TapReport('t/1', 8, 4, 'flow', looks=looks, held_out=np.arange(5.0))
    text, _ = written(tmp_path / 'report', ReportData('m', 'd', taps=[tap]))
    assert Page(text).sections == ['backbone', 'training', 'features']
    assert (tmp_path / 'report' / 'curve_0_t_1.png').is_file()


def test_numbers_hold_every_look_and_no_picture(full: Path) -> None:
    numbers = json.loads((full / 'report.json').read_text())
    tap = numbers['taps'][0]
    assert tap['looks'][1] == {'step': 20, 'nll_fit': 4.0, 'nll': 5.5, 'auroc': 0.85}
    assert tap['looks'][3] == {'step': 60, 'nll_fit': -3.0, 'nll': None, 'auroc': None}
    assert tap['auroc_pseudo_ood']['blur'] == auroc(FLOW.held_out, FLOW.pseudo_ood['blur'])
    assert numbers['settings'] == {'flow': {'steps': 2000}, 'topics': []}
    assert not {'sheet', 'examples'} & set(numbers)


def test_sentence_says_frames_share_over_the_trigger_and_the_hardest_kind() -> None:
    scores = np.arange(100.0)
    data = dataclasses.replace(
        FULL,
        calibrations=[
            CalibrationRow(
                'fp32', scores, {'blur': scores + 1000.0, 'patch': scores}, trigger=97.5
            )
        ],
    )
    assert data.sentence() == (
        '100 frames, 70 of them fitted; 2.00% of 100 held-out frames over the trigger; '
        'AUROC on pseudo-OOD 0.750 (hardest kind patch, 0.500); '
        '51% of pseudo-OOD over the trigger (least of patch, 2%).'
    )
    assert dataclasses.replace(data, verdict='Fine.').sentence() == 'Fine.'


def test_calibration_shows_every_precision_the_default_first(full: Path) -> None:
    text = (full / 'index.html').read_text()
    rows = {row[0]: row[1:] for row in _cells(text, 'calibration')}
    assert rows[''] == ['cpu-int8', 'fp32']
    assert rows['trigger'] == ['2.5', '11.5']
    assert rows['release'] == ['2', '11']
    assert rows['pseudo-OOD over the trigger: blur'][0] == '100.0%'
    assert 'Scores and thresholds of cpu-int8.' in text
    assert 'A node takes cpu-int8 unless told otherwise.' in text
    numbers = json.loads((full / 'report.json').read_text())['calibrations']
    assert [row['precision'] for row in numbers] == ['cpu-int8', 'fp32']
    assert numbers[1]['trigger'] == 11.5
    assert 0.2 < numbers[1]['over_trigger_pseudo_ood']['blur'] < 0.9
    names = [row[0] for row in _cells(text, 'features')]
    assert names[-2:] == ['raw_score (cpu-int8)', 'raw_score (fp32)']


def test_warnings_are_in_the_head_and_in_the_numbers(full: Path) -> None:
    text = (full / 'index.html').read_text()
    head = text[text.index('<header>') : text.index('</header>')]
    assert '<li>the trigger hangs on &lt;1&gt; frame</li>' in head
    assert json.loads((full / 'report.json').read_text())['warnings'] == FULL.warnings


def test_a_verdict_that_is_not_established_is_not_called_accepted(tmp_path: Path) -> None:
    row = PrecisionRow('cpu-int8', 1, word='not established', reason='so few cannot tell')
    text, numbers = written(tmp_path / 'r', ReportData('m', 'd', precisions=[row]))
    assert '<span class="bad">not established</span>: so few cannot tell' in text
    assert 'accepted' not in _cells(text, 'precisions')[1][-1]
    assert numbers['precisions'][0]['word'] == 'not established'


def _drawn(monkeypatch: pytest.MonkeyPatch, data: ReportData) -> list[Any]:
    drawn: list[Any] = []
    save = Figure.savefig

    def kept(figure: Figure, *args: Any, **options: Any) -> None:
        drawn.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, 'savefig', kept)
    draw_all(data)
    return drawn


def test_auroc_panels_have_one_range_a_band_and_the_number_of_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    high = dataclasses.replace(FLOW, name='b', looks=[Look(0, 1, 1, 0.99), Look(20, 1, 1, 0.98)])
    first, second, *_ = _drawn(monkeypatch, ReportData('m', 'd', taps=[FLOW, high]))
    panels = [figure.axes[1] for figure in (first, second)]
    assert panels[0].get_ylim() == panels[1].get_ylim()
    assert panels[0].get_ylim()[0] < 0.7  # with the error below the lowest
    assert len(panels[0].collections) == 1
    labels = [text.get_text() for text in panels[0].get_legend().get_texts()]
    assert labels[:2] == ['pseudo-OOD (30 pictures)', 'one standard error']


def test_long_evidence_leaves_a_third_of_the_axis_to_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = [Look(step, 5.0, 6.0, 0.8) for step in (0, 10, 20, 40, 200)]
    tap = dataclasses.replace(FLOW, looks=looks, step=20, steps=20)
    curve, _ = _drawn(monkeypatch, ReportData('m', 'd', taps=[tap]))
    assert curve.axes[0].get_xlim()[1] == pytest.approx(1.02 * 60)
    assert 'evidence goes on to step 200' in curve.axes[1].get_xlabel()


def test_scores_far_out_leave_the_histogram_readable_and_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held_out = np.append(RNG.normal(0.0, 1.0, 199), 4000.0)
    row = CalibrationRow('fp32', held_out, {'blur': np.full(30, 900.0)}, 3.0, 2.0)
    (figure,) = _drawn(monkeypatch, ReportData('m', 'd', calibrations=[row]))
    assert figure.axes[0].get_xlim()[1] < 10.0
    words = figure.axes[0].get_xlabel()
    assert 'outside of the picture: 1 of 200 held-out frames (0%, 4000 to 4000)' in words
    assert '30 of 30 pseudo-OOD (100%, 900 to 900)' in words


def test_parts_of_the_contact_sheet_differ_in_line_and_lightness_and_say_where_they_are_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (figure,) = _drawn(monkeypatch, ReportData('m', 'd', sheet=FULL.sheet))
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels[:2] == ['drive/bag_0\nfit 0.5 s', 'drive/bag_0\ncal 1.5 s']
    styles = {axes.spines['left'].get_linestyle() for axes in figure.axes[:2]}
    assert len(styles) == 2
    lightness = [
        0.2126 * int(c[1:3], 16) + 0.7152 * int(c[3:5], 16) + 0.0722 * int(c[5:], 16)
        for c in PART_COLOURS.values()
    ]
    assert max(lightness) - min(lightness) > 100


def test_refused_precision_stands_out(full: Path) -> None:
    text = (full / 'index.html').read_text()
    assert text.count('<span class="bad">refused</span>') == 1


def _cells(text: str, section: str) -> list[list[str]]:
    body = text[text.index(f'<section id="{section}">') :]
    rows = re.findall(r'<tr>(.*?)</tr>', body[: body.index('</section>')])
    return [re.findall(r'<t[hd][^>]*>(.*?)</t[hd]>', row) for row in rows]


def test_precisions_show_the_same_kinds_beside_each_other_and_the_reference_too(
    full: Path,
) -> None:
    text = (full / 'index.html').read_text()
    assert _cells(text, 'precisions')[-3:] == [
        ['precision', 'blur', 'phase'],
        ['fp32', '0.9900', '0.9300'],
        ['cpu-int8', '0.9700 (-0.0200)', '0.9300 (+0.0000)'],
    ]
    assert 'own calibration. On 12 validation frames.' in text


def test_timings_show_frames_kept_and_pictures_decoded(full: Path) -> None:
    text = (full / 'index.html').read_text()
    assert _cells(text, 'timings')[1] == ['features', '2.00', '100', '50.0', '150', '75.0']


def test_the_fit_nll_is_shown_at_the_step_that_was_taken(full: Path) -> None:
    head, row = _cells((full / 'index.html').read_text(), 'training')
    shown = dict(zip(head, row, strict=True))
    assert (shown['step taken'], shown['fit nll taken'], shown['fit nll last']) == (
        '20',
        '4.00',
        '-3.00',
    )


def test_evidence_only_shows_in_a_legend_that_lies_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [Look(step, 5.0, 6.0, 0.8) for step in range(0, 100, 10)]
    tap = dataclasses.replace(FLOW, looks=looks, step=0, steps=1, held_out=np.empty(0))
    drawn = _drawn(monkeypatch, ReportData('m', 'd', taps=[tap]))  # nearly all is evidence
    for panel in drawn[0].axes:
        (swatch,) = panel.get_legend().get_patches()
        assert swatch.get_edgecolor() != swatch.get_facecolor()
        assert swatch.get_linewidth() > 0.0


def test_report_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    write_report(tmp_path / 'report', dataclasses.replace(FULL, taps=[], sheet=[], examples={}))
    assert (tmp_path / 'report' / 'calibration.png').is_file()
    write_report(tmp_path / 'report', ReportData('other', 'd'))
    assert 'other' in (tmp_path / 'report' / 'index.html').read_text()
    assert not (tmp_path / 'report' / 'calibration.png').exists()
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.txt').write_text('x')
    with pytest.raises(TrainingError, match='holds something else'):
        write_report(tmp_path / 'mine', FULL)
    assert (tmp_path / 'mine' / 'thesis.txt').read_text() == 'x'
    with pytest.raises(TrainingError, match='could not be written'):
        write_report(tmp_path / 'mine' / 'thesis.txt' / 'report', FULL)
