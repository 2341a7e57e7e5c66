"""A flow stops where in-distribution frames say so, and says why it cannot go on."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('nflows')

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.training.detectors.normalization import Normalization
from ros_ood_monitor.training.fitting.tap import fit_density
from ros_ood_monitor.training.flows import step_choice
from ros_ood_monitor.training.flows.fit_record import Look
from ros_ood_monitor.training.flows.flow_trainer import FlowTrainer
from ros_ood_monitor.training.flows.training import train_flow
from ros_ood_monitor.training.rows import TapRows
from ros_ood_monitor.training.settings.presets import FlowSettings
from tests.flow_tools import features


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def parts(width: int = 8) -> tuple[Any, Any, Any]:
    """Return features to fit to, held-out ones, and probes of another distribution."""
    probes = features(30, width, seed=1)
    probes[:, 0] += 0.5
    return features(200, width).numpy(), features(240, width).numpy()[200:], probes.numpy()


def small(name: str = 'default', **changes: Any) -> FlowSettings:
    return FlowSettings.preset(name, **{'hidden': 16, **changes})


def test_probes_and_the_steps_beyond_the_stop_change_nothing_that_is_taken() -> None:
    fit, held_out, probes = parts()
    settings = small(learning_rate=3e-3, steps=100, evidence_steps=60)
    plain, record = train_flow(fit, held_out, settings=settings, seed=0)
    probed, seen = train_flow(fit, held_out, settings=settings, seed=0, probes=probes)
    assert (seen.step, seen.steps, seen.curve) == (record.step, record.steps, record.curve)
    expected = plain.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in probed.state_dict().items())
    assert record.looks[-1].step == record.steps
    assert seen.looks[-1].step == seen.steps + 60
    assert [look.probe_auroc for look in record.looks] == [None] * len(record.looks)


def test_look_holds_nll_of_both_parts_and_the_auroc_of_the_probes() -> None:
    fit, held_out, probes = parts()
    settings = small(steps=40, check_every=40, evidence_steps=0, choose='last')
    flow, record = train_flow(fit, held_out, settings=settings, seed=0, probes=probes)
    look = record.looks[-1]
    with torch.no_grad():
        nll, of_fit, of_probes = (
            -flow.log_prob(torch.from_numpy(x)).double().numpy() for x in (held_out, fit, probes)
        )
    assert record.step == look.step == 40
    assert look.nll == pytest.approx(nll.mean(), rel=1e-5)
    assert look.fit_nll == pytest.approx(of_fit.mean(), rel=1e-5)
    assert look.probe_auroc == auroc(nll, of_probes)
    assert look.standard_error == pytest.approx(nll.std() / 40**0.5, rel=1e-4)


def test_step_is_the_earliest_within_one_standard_error_of_the_lowest() -> None:
    fit, held_out, _ = parts()
    settings = small('realnvp', learning_rate=1e-3, check_every=5)
    _, record = train_flow(fit, held_out, settings=settings, seed=0)
    allowed = min(nll for _, nll in record.curve) + record.standard_error
    assert 0 < record.step < record.steps
    assert record.nll <= allowed
    assert all(nll > allowed for step, nll in record.curve if step < record.step)


@pytest.mark.parametrize(('room', 'taken'), [(2**28, 0), (8, 1)])
def test_weights_wait_for_the_standard_error_of_the_end_while_there_is_room(
    monkeypatch: pytest.MonkeyPatch, room: int, taken: int
) -> None:
    monkeypatch.setattr(step_choice, '_MOST_BYTES', room)
    candidates, flow = step_choice.Candidates(), torch.nn.Linear(1, 1)  # of 8 bytes
    for step, (nll, error) in enumerate([(10.0, 0.1), (9.7, 0.1), (9.65, 0.4)]):
        torch.nn.init.constant_(flow.bias, step)
        candidates.offer(Look(step, nll, error, nll), flow)
    chosen = candidates.choose()
    assert (chosen.look.step, float(chosen.weights['bias'])) == (taken, taken)


def test_last_step_is_taken_where_the_settings_say_so() -> None:
    fit, held_out, probes = parts()
    settings = small('fde_paper', steps=30, learning_rate=1e-2, patience=1, check_every=5)
    flow, record = train_flow(fit, held_out, settings=settings, seed=0, probes=probes)
    assert min(record.curve, key=lambda pair: pair[1])[0] < 30
    assert record.step == record.steps == 30
    with torch.no_grad():
        nll = -float(flow.log_prob(torch.from_numpy(held_out)).mean())
    assert nll == pytest.approx(dict(record.curve)[30], rel=1e-6)


class Recorder:
    """Rows that remember which of them were read."""

    def __init__(self, rows: npt.NDArray[np.float32]) -> None:
        self.rows = rows
        self.read: list[npt.NDArray[np.int64]] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        self.read.append(index)
        return self.rows[index]


def test_one_pass_sees_every_frame_once() -> None:
    _, held_out, _ = parts()
    rows = Recorder(features(210, 8).numpy())
    settings = small('fde_paper', batch_size=50, couplings=1)
    _, record = train_flow(rows, held_out, settings=settings, seed=0)
    assert record.steps == 5
    batches = [index for index in rows.read if len(index) in (50, 10)]
    first, *rest = batches  # the first batch also initialises ActNorm
    assert np.array_equal(first, rest[0])
    assert sorted(np.concatenate(rest).tolist()) == list(range(210))


def test_rows_on_disk_give_the_flow_of_rows_in_memory(tmp_path: Path) -> None:
    fit, held_out, _ = parts()
    table = np.hstack([np.ones((240, 3)), 4.0 * np.vstack([fit, held_out])]).astype(np.float32)
    table.tofile(tmp_path / 'table')
    stored = np.memmap(tmp_path / 'table', np.float32, 'r', shape=(240, 11))
    order, unit = np.random.default_rng(0).permutation(240), Normalization()
    settings = small(steps=40)
    records = []
    for source in (stored, table):
        rows = [TapRows(source, part, slice(3, 11), unit) for part in (order[:200], order[200:])]
        records.append(train_flow(*rows, settings=settings, seed=0)[1])
    assert records[0].curve == records[1].curve
    in_memory = unit(np.ascontiguousarray(table[order][:, 3:]))
    _, record = train_flow(in_memory[:200], in_memory[200:], settings=settings, seed=0)
    assert records[0].curve == record.curve


def test_training_that_blows_up_stops_with_tap_and_step() -> None:
    fit, held_out, _ = parts()
    settings = small('fde_paper', steps=200, learning_rate=5.0)
    message = (
        r"(loss|nll|gradient).* of tap 'blocks\.5' is not finite at step \d+: got -?(inf|nan)"
    )
    with pytest.raises(TrainingError, match=message):
        train_flow(fit, held_out, settings=settings, seed=0, name='blocks.5')


@pytest.mark.parametrize(
    ('preset', 'changes', 'advised', 'not_advised'),
    [
        ('fde_paper', {}, ['gradient_clip', 'clamp'], []),
        ('fde_paper', {'clamp': True}, ['gradient_clip'], ['clamp']),
        ('realnvp', {}, ['--taps', '--density mahalanobis', '(now 0.0001)'], ['clip', 'clamp']),
        ('default', {'clamp': False}, ['--density mahalanobis'], ['clip', 'clamp']),
    ],
)
def test_what_is_in_force_already_is_not_advised(
    preset: str, changes: dict[str, Any], advised: list[str], not_advised: list[str]
) -> None:
    fit, _, _ = parts()
    trainer = FlowTrainer(fit, small(preset, **changes), 0, 'head')
    with pytest.raises(TrainingError) as error:
        trainer._check(float('nan'), 'loss')
    said = str(error.value)
    assert all(word in said for word in advised)
    assert not any(word in said for word in not_advised)
    assert 'constant' not in said


def test_channels_that_hardly_vary_are_named_where_a_flow_blows_up() -> None:
    fit, _, _ = parts()
    fit = fit.copy()
    fit[:, 2] = 0.25
    trainer = FlowTrainer(fit, small('realnvp'), 0, 'head')
    with pytest.raises(TrainingError, match=r'got nan \(nearly constant channels: 2\); lower'):
        trainer._check(float('nan'), 'loss')


def test_blowing_up_beyond_the_stop_ends_the_evidence_only() -> None:
    fit, held_out, probes = parts()
    settings = small('fde_paper', steps=0, learning_rate=5.0, evidence_steps=200)
    _, record = train_flow(fit, held_out, settings=settings, seed=0, probes=probes, name='head')
    assert (record.step, record.steps) == (0, 0)
    assert 'is not finite at step' in record.evidence_ended


def test_features_that_are_not_finite_are_refused() -> None:
    fit, held_out, _ = parts()
    broken = fit.copy()
    broken[3, 2] = np.nan
    with pytest.raises(TrainingError, match='features to fit to are not finite'):
        train_flow(broken, held_out, settings=small(), seed=0)
    broken = held_out.copy()
    broken[3, 2] = np.inf
    with pytest.raises(TrainingError, match='held-out nll is not finite at step 0'):
        train_flow(fit, broken, settings=small(), seed=0)


def test_one_frame_is_refused() -> None:
    fit, held_out, _ = parts()
    with pytest.raises(TrainingError, match='at least 2 frames to fit to, got 1'):
        train_flow(fit[:1], held_out, settings=small(), seed=0)


def test_seed_of_the_settings_goes_before_that_of_the_training() -> None:
    fit, held_out, _ = parts()
    curves = [
        train_flow(fit, held_out, settings=small('realnvp', passes=2, seed=own), seed=seed)[
            1
        ].curve
        for own, seed in ((5, 0), (5, 1), (None, 5), (None, 6))
    ]
    assert curves[0] == curves[1] == curves[2]
    assert curves[3] != curves[2]


@pytest.mark.parametrize('kind', ['flow', 'mahalanobis'])
def test_density_is_fitted_with_its_first_look_at_step_0(kind: str) -> None:
    fit, held_out, probes = parts()
    settings = small(steps=20, evidence_steps=0)
    density, record = fit_density(kind, fit, held_out, settings=settings, seed=0, probes=probes)
    with torch.no_grad():
        nll = density.nll(torch.from_numpy(held_out).double()).numpy()
    assert record.density == kind
    assert record.looks[0].step == 0
    assert record.looks[0].probe_auroc is not None
    assert record.nll == pytest.approx(nll.mean(), rel=1e-4)
    assert record.fit_nll < record.nll
    assert record.gaussian is not None
