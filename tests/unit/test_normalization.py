"""Lengths are normalised the same in numpy and in the graph, and beta is chosen honestly."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('nflows')

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.detectors.gaussian import estimate, fit_gaussian
from ros_ood_monitor.training.detectors.normalization import choose_beta, Normalization, radial_nll
from ros_ood_monitor.training.export.scorer import Scorer
from ros_ood_monitor.training.rows import chunks, spread
from tests.flow_tools import features

EVERY = (Normalization(), Normalization('none'), Normalization('radial', 0.4))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def raw(count: int, width: int, seed: int = 0) -> Any:
    """Return features whose lengths vary."""
    lengths = np.random.default_rng(seed).lognormal(2.0, 0.4, (count, 1))
    return (lengths * features(count, width, seed=seed).numpy()).astype(np.float32)


@pytest.mark.parametrize('normalization', EVERY, ids=lambda n: n.kind)
def test_graph_normalises_like_numpy(normalization: Normalization) -> None:
    x = raw(20, 6)
    x[3] = 0.0
    got = normalization.in_graph(torch.from_numpy(x)).numpy()
    assert got == pytest.approx(normalization(x), rel=1e-5)
    assert not got[3].any()


def test_radial_spans_from_none_to_l2() -> None:
    x = raw(20, 6)
    assert Normalization('radial', 0.0)(x) == pytest.approx(x, rel=1e-6)
    assert Normalization('radial', 1.0)(x) == pytest.approx(Normalization()(x), rel=1e-6)
    lengths = np.linalg.norm(Normalization('radial', 0.4)(x), axis=1)
    assert lengths == pytest.approx(np.linalg.norm(x, axis=1) ** 0.6, rel=1e-5)


def test_scorer_normalises_each_tap_by_its_own_rule() -> None:
    x = [raw(60, 5, seed=k) for k in range(3)]
    densities = [fit_gaussian(n(one))[0] for n, one in zip(EVERY, x, strict=True)]
    scorer = Scorer(densities, [0.0] * 3, [1.0] * 3, EVERY)
    with torch.no_grad():
        got = scorer([torch.from_numpy(one).double() for one in x])
        expected = sum(
            density.nll(torch.from_numpy(n(one)).double())
            for density, n, one in zip(densities, EVERY, x, strict=True)
        )
    assert torch.allclose(got, expected, rtol=1e-4)


def test_scorer_of_every_rule_exports() -> None:
    from ros_ood_monitor.training.export.graphs import export_scorer

    class Tap:
        def __init__(self, output: str) -> None:
            self.output = output
            self.channels = 5

    taps: Any = [Tap(f'tap_{k}') for k in range(3)]
    x = [raw(60, 5, seed=k) for k in range(3)]
    densities = [fit_gaussian(n(one))[0] for n, one in zip(EVERY, x, strict=True)]
    scorer = Scorer(densities, [0.0] * 3, [1.0] * 3, EVERY)
    session = open_session(export_scorer(copy.deepcopy(scorer).float(), taps))
    (got,) = session.run(None, {f'tap_{k}': one for k, one in enumerate(x)})
    with torch.no_grad():
        expected = scorer([torch.from_numpy(one).double() for one in x]).numpy()
    assert got == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_scorer_needs_a_rule_for_every_tap() -> None:
    density, _ = fit_gaussian(raw(30, 4))
    with pytest.raises(TrainingError, match='one normalisation per tap: expected 1, got 2'):
        Scorer([density], [0.0], [1.0], EVERY[:2])


def test_manifest_fact_names_kind_and_beta() -> None:
    assert [n.card() for n in EVERY] == ['l2', 'none', {'kind': 'radial', 'beta': 0.4}]


def test_log_determinant_of_the_radial_map_is_that_of_its_jacobian() -> None:
    """With beta, held-out nll of a fixed density moves by minus the log-determinant."""
    x, beta = raw(1, 4, seed=2), 0.3
    radial = Normalization('radial', beta)
    jacobian = torch.autograd.functional.jacobian(
        lambda row: radial.in_graph(row[None])[0], torch.from_numpy(x[0]).double()
    )
    density, _ = fit_gaussian(radial(raw(50, 4)))
    behind = float(density.nll(torch.from_numpy(radial(x)).double()))
    expected = behind - float(torch.linalg.slogdet(jacobian)[1])
    assert radial_nll(raw(50, 4), x, beta) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize('beta', [0.2, 0.7])
def test_beta_of_features_that_are_gaussian_behind_it_is_found(beta: float) -> None:
    rng = np.random.default_rng(0)
    plain = rng.normal(3.0, 1.0, (3000, 8))
    length = np.linalg.norm(plain, axis=1, keepdims=True)
    x = (plain * length ** (beta / (1 - beta))).astype(np.float32)  # the radial map undoes this
    choice = choose_beta(x[:2000], x[2000:])
    assert choice.normalization == Normalization('radial', beta)
    assert len(choice.curve) == 11


@pytest.mark.parametrize('scale', [1e-3, 1e3])
def test_beta_does_not_depend_on_the_unit_of_features(scale: float) -> None:
    x = raw(300, 6)
    first, second = (choose_beta(y[:200], y[200:]) for y in (x, (scale * x).astype(np.float32)))
    assert first.normalization == second.normalization


def test_wrong_rules_are_refused() -> None:
    with pytest.raises(TrainingError, match="'l2', 'radial', 'none'"):
        Normalization('pca')
    with pytest.raises(TrainingError, match=r'in \[0, 1\], got 1\.5'):
        Normalization('radial', 1.5)
    with pytest.raises(TrainingError, match=r'beta must be in \[0, 1\)'):
        choose_beta(raw(30, 4), raw(9, 4), betas=[0.5, 1.0])


def test_estimate_reads_some_thousand_rows_at_a_time() -> None:
    x = raw(9000, 3)

    class Rows:
        largest = 0

        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, index: Any) -> Any:
            Rows.largest = max(Rows.largest, len(index))
            return x[index]

    chunked, whole = estimate(Rows()), np.cov(x.T, bias=True)
    assert Rows.largest == 4096
    shrunk = (1 - chunked.shrinkage) * whole
    shrunk += chunked.shrinkage * np.trace(whole) / 3 * np.eye(3)
    assert chunked.covariance == pytest.approx(shrunk, rel=1e-6)


def test_chunks_and_spread_cover_the_rows() -> None:
    x = raw(10, 2)
    assert np.array_equal(np.concatenate(list(chunks(x, 4))), x)
    assert spread(10, 4).tolist() == [0, 2, 5, 7]
    assert spread(3, 8).tolist() == [0, 1, 2]


def test_a_gaussian_of_one_frame_is_refused() -> None:
    with pytest.raises(TrainingError, match='at least 2 frames, got 1'):
        estimate(raw(1, 4))
