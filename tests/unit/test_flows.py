"""The flow's own parts: invertible, with the log-determinant of their Jacobian."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('nflows')

from sklearn.covariance import ledoit_wolf

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.detectors.folded_steps import SCALE_CLAMP
from ros_ood_monitor.training.detectors.gaussian import estimate, fit_gaussian
from ros_ood_monitor.training.flows.assembly import build_flow, initialize
from ros_ood_monitor.training.flows.transforms import ActNorm, Whitening
from tests.flow_tools import features, perturb


@pytest.fixture(params=['permutation', 'lu'])
def flow(request: pytest.FixtureRequest) -> Any:
    flow = build_flow(7, hidden=8, couplings=3, mixing=request.param, seed=2)
    initialize(flow, features(60, 7))
    return perturb(flow).double()


def test_flow_is_invertible(flow: Any) -> None:
    x = features(20, 7, seed=3).double()
    with torch.no_grad():
        z, forward = flow._transform(x)
        back, inverse = flow._transform.inverse(z)
    assert (z - x).abs().max() > 0.1
    assert torch.allclose(back, x, atol=1e-9)
    assert torch.allclose(forward, -inverse, atol=1e-9)


def test_log_determinant_is_that_of_the_jacobian(flow: Any) -> None:
    for x in features(3, 7, seed=4).double():
        jacobian = torch.autograd.functional.jacobian(
            lambda row: flow._transform(row[None])[0][0], x
        )
        with torch.no_grad():
            _, log_det = flow._transform(x[None])
        assert float(log_det) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-9)


def test_gradient_reaches_every_parameter(flow: Any) -> None:
    (-flow.log_prob(features(40, 7).double()).mean()).backward()
    silent = [n for n, p in flow.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_untrained_flow_is_the_gaussian_of_the_fit_part() -> None:
    x = features(60, 12)
    flow = build_flow(12, seed=5)
    initialize(flow, x)
    gaussian, _ = fit_gaussian(x.numpy())
    with torch.no_grad():
        got, expected = -flow.log_prob(x), gaussian.nll(x.double())
    assert torch.allclose(got.double(), expected, rtol=1e-4, atol=1e-3)


def test_gaussian_nll_is_that_of_the_multivariate_normal() -> None:
    x = features(90, 6).double()
    density, gaussian = fit_gaussian(x.numpy())
    normal = torch.distributions.MultivariateNormal(
        torch.from_numpy(gaussian.mean), torch.from_numpy(gaussian.covariance)
    )
    assert torch.allclose(density.nll(x), -normal.log_prob(x), atol=1e-8)


def test_covariance_is_that_of_ledoit_and_wolf() -> None:
    x = features(60, 12).numpy().astype(np.float64)
    expected, shrinkage = ledoit_wolf(x)
    gaussian = estimate(x)
    assert gaussian.shrinkage == pytest.approx(shrinkage)
    assert gaussian.covariance == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('whiten', [True, False])
def test_dead_features_give_a_finite_nll(whiten: bool) -> None:
    x = features(50, 10)
    x[:, 3] = 0.0  # silent in all of the data
    x[:, 7] = 0.25
    flow = build_flow(10, hidden=8, whiten=whiten)
    initialize(flow, x)
    woken = x.clone()
    woken[:, 3] = 0.5
    with torch.no_grad():
        normal, strange = -flow.log_prob(x), -flow.log_prob(woken)
    assert torch.isfinite(normal).all()
    assert torch.isfinite(strange).all()
    assert (strange > normal + 1.0).all()


def test_identical_frames_give_a_finite_nll() -> None:
    x = features(1, 10).repeat(50, 1)
    flow = build_flow(10, hidden=8)
    initialize(flow, x)
    assert torch.isfinite(flow.log_prob(x)).all()
    assert torch.isfinite(fit_gaussian(x.numpy())[0].nll(x.double())).all()


def test_log_scale_stays_inside_the_clamp_however_large_the_input() -> None:
    flow = perturb(build_flow(4, hidden=8, couplings=1), size=1.0)
    coupling = next(m for m in flow.modules() if type(m).__name__ == 'AffineCoupling')
    with torch.no_grad():
        _, log_det = coupling(torch.full((1, 4), 1e6))
    assert 0.5 < abs(float(log_det)) < 2 * SCALE_CLAMP


def test_actnorm_normalises_what_it_saw_first() -> None:
    x = features(200, 5) * 3.0 + 1.0
    layer = ActNorm(5).train()
    y, _ = layer(x)
    assert torch.allclose(y.mean(dim=0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(y.std(dim=0, unbiased=False), torch.ones(5), atol=1e-4)


def test_whitening_is_not_trained() -> None:
    assert list(Whitening(5).parameters()) == []


def test_equal_seeds_build_equal_flows() -> None:
    first, second, other = (build_flow(9, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_building_a_flow_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    build_flow(6, seed=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [({'mixing': 'rotation'}, 'mixing is unknown'), ({'couplings': 0}, 'at least 2 features')],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        build_flow(6, **options)


def test_flows_that_are_built_at_the_same_time_are_those_of_their_seeds() -> None:
    widths = [8 + k % 5 for k in range(60)]
    alone = [build_flow(width, seed=width).state_dict() for width in widths]
    with ThreadPoolExecutor(8) as pool:
        together = [
            flow.state_dict() for flow in pool.map(lambda w: build_flow(w, seed=w), widths)
        ]
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)
