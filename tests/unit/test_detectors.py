"""Detectors in closed form: what they compute, how they export, what they refuse."""

# flake8: noqa: E402  (nothing of this can be imported where torch is missing)

from __future__ import annotations

import copy
from pathlib import Path
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip('torch')

import onnx
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from ros_ood_monitor.bundle.manifest import Tolerance
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.backbones.base import Classifier
from ros_ood_monitor.training.detectors import fit_closed_form, vim
from ros_ood_monitor.training.detectors.components import principal_components
from ros_ood_monitor.training.detectors.knn import greedy_coreset
from ros_ood_monitor.training.detectors.normalization import Normalization
from ros_ood_monitor.training.export.graphs import export_scorer, prove_scorer
from ros_ood_monitor.training.export.scorer import Scorer
from ros_ood_monitor.training.fitting.fitted_taps import scores
from ros_ood_monitor.training.held_out.calibrate import standardisation
from ros_ood_monitor.training.settings.densities import CLOSED_FORMS, VIM

D = 12
Features = npt.NDArray[np.float32]


def features(count: int, seed: int = 0, width: int = D) -> Features:
    """Return rows of unit length around one direction, with variances that fall."""
    rng = np.random.default_rng(seed)
    spread = 0.2 / np.arange(1, width + 1)
    raw = rng.normal(size=(count, width)) * spread + np.linspace(1.0, 0.2, width)
    return Normalization()(raw.astype(np.float32))


def score(kind: str, fit: Features, other: Features) -> npt.NDArray[np.float64]:
    return scores(fit_closed_form(kind, fit).detector, other)


def test_mean_distance_is_the_distance_to_the_mean() -> None:
    fit, other = features(80), features(20, 1)
    expected = np.linalg.norm(other - fit.astype(np.float64).mean(axis=0), axis=1)
    assert score('mean_distance', fit, other) == pytest.approx(expected, rel=1e-9)


def test_mahalanobis_is_scikit_learns_ledoit_wolf() -> None:
    fit, other = features(80).astype(np.float64), features(20, 1)
    oracle = LedoitWolf().fit(fit)
    squared = oracle.mahalanobis(other.astype(np.float64))
    log_det = np.linalg.slogdet(oracle.covariance_)[1]
    expected = 0.5 * (squared + log_det + D * np.log(2 * np.pi))
    assert score('mahalanobis', fit.astype(np.float32), other) == pytest.approx(expected, rel=1e-5)


def test_ppca_is_scikit_learns_log_likelihood() -> None:
    fit, other = features(400), features(20, 1)
    kept = len(principal_components(fit).directions)
    assert 1 < kept < D - 1
    oracle = PCA(kept, svd_solver='full').fit(fit.astype(np.float64))
    # scikit-learn divides by n - 1
    oracle.explained_variance_ *= 399 / 400
    oracle.noise_variance_ *= 399 / 400
    expected = -oracle.score_samples(other.astype(np.float64))
    assert score('ppca', fit, other) == pytest.approx(expected, rel=1e-6)


def test_pca_residual_is_what_the_components_cannot_rebuild() -> None:
    fit, other = features(400), features(20, 1)
    kept = len(principal_components(fit).directions)
    oracle = PCA(kept, svd_solver='full').fit(fit.astype(np.float64))
    x = other.astype(np.float64)
    rebuilt = oracle.inverse_transform(oracle.transform(x))
    expected = np.linalg.norm(x - rebuilt, axis=1)
    assert score('pca_residual', fit, other) == pytest.approx(expected, rel=1e-6)


def test_components_hold_95_percent_of_the_variance_and_no_more_than_that_takes() -> None:
    fit = features(400).astype(np.float64)
    kept = len(principal_components(fit.astype(np.float32)).directions)
    shares = np.cumsum(PCA(svd_solver='full').fit(fit).explained_variance_ratio_)
    assert shares[kept - 1] >= 0.95 > shares[kept - 2]


def test_knn_is_the_mean_distance_to_five_rows_of_the_coreset() -> None:
    fit, other = features(80), features(30, 1)
    fitted = fit_closed_form('knn', fit)
    assert fitted.facts['coreset'] == 20  # a quarter
    coreset = fit[greedy_coreset(fit.astype(np.float64), 20)].astype(np.float64)
    distances, _ = NearestNeighbors(n_neighbors=5).fit(coreset).kneighbors(other)
    assert scores(fitted.detector, other) == pytest.approx(distances.mean(axis=1), rel=1e-6)


def test_the_coreset_takes_the_farthest_row_each_time() -> None:
    rows = np.array([[0.0, 0], [0.1, 0], [5, 0], [0, 3], [0.2, 0]])
    # 1.06, 0.6 is the mean: row 4 is nearest; then 5, 0; then 0, 3
    assert greedy_coreset(rows, 3).tolist() == [4, 2, 3]


def test_a_coreset_of_equal_rows_takes_each_once() -> None:
    assert sorted(greedy_coreset(np.ones((4, 3)), 4).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(('width', 'most'), [(4, 1024), (1600, 655)])
def test_memory_of_knn_is_bounded_and_stated(width: int, most: int) -> None:
    fitted = fit_closed_form('knn', features(4400, width=width))
    assert fitted.facts['coreset'] == most
    assert fitted.facts['mib'] == pytest.approx(4 * most * width / 2**20, abs=1e-3)
    assert fitted.facts['mib'] <= 4.0


def test_a_coreset_that_was_asked_for_is_as_large_as_asked_where_there_are_rows() -> None:
    rows = features(300, width=3)
    assert fit_closed_form('knn', rows, coreset=200).facts['coreset'] == 200
    assert fit_closed_form('knn', rows, coreset=4000).facts['coreset'] == 300


class CountedRows:
    """Rows that tell how many of them were asked for at once."""

    def __init__(self, rows: Features) -> None:
        self.rows, self.most = rows, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: npt.NDArray[np.int64], /) -> Features:
        self.most = max(self.most, len(index))
        return self.rows[index]


@pytest.mark.parametrize('kind', CLOSED_FORMS)
def test_rows_are_read_a_chunk_at_a_time(kind: str) -> None:
    rows = CountedRows(features(20_000, width=3))
    fit_closed_form(kind, rows)
    assert rows.most <= 8192


@pytest.mark.parametrize('kind', CLOSED_FORMS)
def test_one_training_frame_is_refused(kind: str) -> None:
    with pytest.raises(TrainingError, match='at least 2 frames, got 1'):
        fit_closed_form(kind, features(1))


@pytest.mark.parametrize('kind', CLOSED_FORMS)
def test_features_that_are_not_finite_are_refused(kind: str) -> None:
    fit = features(30)
    fit[3, 2] = np.nan
    with pytest.raises(TrainingError, match='not finite'):
        fit_closed_form(kind, fit)


@pytest.mark.parametrize('kind', ['ppca', 'pca_residual'])
def test_components_of_one_channel_are_refused(kind: str) -> None:
    with pytest.raises(TrainingError, match='at least 2 channels, got 1'):
        fit_closed_form(kind, features(30, width=1))


@pytest.mark.parametrize('kind', CLOSED_FORMS)
def test_fewer_frames_than_channels_are_enough(kind: str) -> None:
    fit, other = features(6, width=40), features(10, 1, width=40)
    assert np.isfinite(score(kind, fit, other)).all()


@pytest.mark.parametrize('kind', CLOSED_FORMS)
def test_a_scene_at_rest_gives_finite_scores_that_rise_with_a_change(kind: str) -> None:
    fit = np.repeat(features(1), 30, axis=0)
    fitted = fit_closed_form(kind, fit)
    near = scores(fitted.detector, fit)
    mean, deviation = standardisation(near, fitted.detector.deviation)
    changed = Normalization()(fit[:1] + np.float32(0.01) * np.eye(D, dtype=np.float32)[3])
    z = (scores(fitted.detector, changed) - mean) / deviation
    assert np.isfinite(near).all()
    assert 10 < float(z[0]) < np.inf


@pytest.mark.parametrize('kind', CLOSED_FORMS)
def test_a_fit_repeated_is_equal_to_the_last_digit(kind: str) -> None:
    fit, other = features(100), features(20, 1)
    assert np.array_equal(score(kind, fit, other), score(kind, fit, other))


@pytest.mark.parametrize('kind', CLOSED_FORMS)
def test_held_out_rows_are_nearer_than_other_ones(kind: str) -> None:
    fit, held_out = features(200), features(50, 1)
    other = Normalization()(np.random.default_rng(2).normal(size=(50, D)).astype(np.float32))
    assert score(kind, fit, held_out).max() < score(kind, fit, other).min()


def scorer_of(kind: str) -> tuple[Scorer, list[BackboneTap]]:
    taps = [BackboneTap('a', D, 8), BackboneTap('b', 40, 16)]
    fitted = [fit_closed_form(kind, features(90, 3, tap.channels)) for tap in taps]
    standard = [
        standardisation(
            scores(one.detector, features(40, 4, tap.channels)), one.detector.deviation
        )
        for one, tap in zip(fitted, taps, strict=True)
    ]
    means, stds = zip(*standard, strict=True)
    return Scorer([one.detector for one in fitted], means, stds), taps


@pytest.mark.parametrize('kind', CLOSED_FORMS)
def test_the_exported_scorer_computes_the_same_in_onnx_runtime(kind: str) -> None:
    scorer, taps = scorer_of(kind)
    # not normalised: the graph does it
    seen = [3.0 * features(20, 5, tap.channels) for tap in taps]
    far = [np.random.default_rng(6).normal(size=x.shape).astype(np.float32) for x in seen]
    inputs = [np.concatenate(pair) for pair in zip(seen, far, strict=True)]
    graph = export_scorer(copy.deepcopy(scorer).float(), taps)
    prove_scorer(open_session(graph), scorer, taps, inputs, tolerance=Tolerance(1e-3, 1e-4))


@pytest.mark.parametrize('kind', CLOSED_FORMS)
def test_the_exported_scorer_needs_standard_operators_only(kind: str) -> None:
    scorer, taps = scorer_of(kind)
    model = onnx.load_from_string(export_scorer(scorer.float(), taps))
    assert {node.domain for node in model.graph.node} <= {'', 'ai.onnx'}
    operators = {node.op_type for node in model.graph.node}
    assert ('TopK' in operators) == (kind == 'knn')


@pytest.mark.parametrize('kind', CLOSED_FORMS)
def test_rows_of_a_grid_score_as_they_do_alone(kind: str) -> None:
    fitted: Any = fit_closed_form(kind, features(90))
    grid = features(2 * 3 * 4, 7)
    together = scores(fitted.detector, grid)
    alone = np.concatenate([scores(fitted.detector, grid[k : k + 1]) for k in range(len(grid))])
    assert together == pytest.approx(alone, rel=1e-9)


def classifier(width: int = D) -> Classifier:
    rng = np.random.default_rng(8)
    return Classifier(rng.normal(size=(7, width)), rng.normal(size=7))


def test_vim_is_what_its_paper_says_with_alpha_from_held_out_frames() -> None:
    fit, held_out, other = (3.0 * features(90, k) for k in (0, 1, 2))
    behind = classifier()
    fitted = vim.fit(fit, held_out, behind)
    origin = -np.linalg.pinv(behind.weight) @ behind.bias
    values, vectors = np.linalg.eigh((fit - origin).T @ (fit - origin) / len(fit))
    kept = int(np.searchsorted(np.cumsum(values[::-1]) / values.sum(), 0.95)) + 1
    assert fitted.facts['components'] == kept
    assert fitted.facts['classes'] == 7
    outside = vectors[:, : D - kept]

    def residual(x: Features) -> npt.NDArray[np.float64]:
        return np.asarray(np.linalg.norm((x - origin) @ outside, axis=1))

    def logits(x: Features) -> npt.NDArray[np.float64]:
        return np.asarray(x @ behind.weight.T + behind.bias)

    alpha = np.abs(logits(held_out).max(axis=1)).mean() / residual(held_out).mean()
    expected = alpha * residual(other) - np.log(np.exp(logits(other)).sum(axis=1))
    assert scores(fitted.detector, other) == pytest.approx(expected, rel=1e-6)


def test_vim_exports_with_standard_operators_and_survives_large_logits() -> None:
    tap = BackboneTap('head', D, 32)
    rows = 30.0 * features(90)
    detector = vim.fit(rows, 30.0 * features(40, 1), classifier()).detector
    scorer = Scorer([detector], [0.0], [1.0], [Normalization('none')])
    graph = export_scorer(copy.deepcopy(scorer).float(), [tap])
    assert {node.domain for node in onnx.load_from_string(graph).graph.node} <= {'', 'ai.onnx'}
    seen = np.concatenate([rows, 50.0 * rows])  # logits of thousands: their exp is infinite
    prove_scorer(open_session(graph), scorer, [tap], [seen], tolerance=Tolerance(1e-2, 1e-4))


def test_vim_refuses_a_classifier_of_another_width() -> None:
    with pytest.raises(TrainingError, match='expected 5 channels, got 12'):
        vim.fit(features(90), features(40, 1), classifier(5))


def test_every_detector_has_a_file_and_a_row_in_the_docs() -> None:
    root = Path(__file__).resolve().parents[2]
    text = (root / 'docs/detectors.md').read_text(encoding='utf-8')
    for kind in (*CLOSED_FORMS, VIM):
        assert (root / f'ros_ood_monitor/training/detectors/{kind}.py').is_file()
        assert re.search(rf'^\| `{kind}` \|', text, re.MULTILINE), kind
