"""Presets are what was published, and every one of them folds."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('nflows')

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.flows.assembly import flow_from_settings, initialize
from ros_ood_monitor.training.flows.folding import fold
from ros_ood_monitor.training.flows.published import (
    PLULinear,
    ShiftScaleCoupling,
    Standardizing,
)
from ros_ood_monitor.training.settings.presets import FlowSettings, PRESETS
from tests.flow_tools import features, perturb
from tests.published_fde import copy_into, PublishedFlow


def trained(name: str, width: int, **changes: Any) -> Any:
    """Return a flow of a preset after some optimiser steps, every parameter a little moved."""
    torch.set_num_threads(1)
    x = features(64, width)
    flow = flow_from_settings(FlowSettings.preset(name, **changes), width, seed=2)
    initialize(flow, x)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
    for _ in range(5):
        optimizer.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        optimizer.step()
    return perturb(flow, size=0.02)


def names_of(flow: Any) -> list[str]:
    return [type(step).__name__ for step in flow._transform._transforms]


def test_fde_paper_is_the_published_recipe() -> None:
    settings = FlowSettings.preset('fde_paper')
    assert (settings.architecture, settings.couplings, settings.clamp) == ('glow', 10, False)
    assert (settings.learning_rate, settings.adam_beta1, settings.batch_size) == (1e-5, 0.9, 250)
    assert (settings.weight_decay, settings.gradient_clip) == (0.0, 0.0)
    assert (settings.passes, settings.choose, settings.seed) == (1, 'last', 1)
    assert settings.total_steps(1_281_167) == 5125
    flow = flow_from_settings(settings, 12, seed=1)
    assert names_of(flow) == ['ShiftScaleCoupling', 'PLULinear', 'Standardizing'] * 10
    for step in flow._transform._transforms[::3]:
        assert step.identity_features.tolist() == [0, 2, 4, 6, 8, 10]
        net = step.transform_net
        assert [layer.out_features for layer in (net.shift_initial, net.scale_initial)] == [12, 12]
        assert float(net.shift_initial.weight.detach().abs().max()) <= 12**-0.5
        assert not net.scale_final.weight.any()


def test_realnvp_is_the_published_recipe() -> None:
    settings = FlowSettings.preset('realnvp')
    assert (settings.hidden, settings.couplings, settings.clamp) == (1024, 4, True)
    assert (settings.learning_rate, settings.adam_beta1, settings.weight_decay) == (
        1e-4,
        0.5,
        1e-4,
    )
    assert (settings.gradient_clip, settings.passes) == (1.0, 100)
    flow = flow_from_settings(FlowSettings.preset('realnvp', hidden=8), 6, seed=1)
    steps = flow._transform._transforms
    assert names_of(flow) == ['Standardizing', 'ShiftScaleCoupling'] * 4 + ['Standardizing']
    kept = [step.identity_features.tolist() for step in steps[1::2]]
    assert kept == [[1, 3, 5], [0, 2, 4]] * 2


@pytest.mark.parametrize('name', PRESETS)
@pytest.mark.parametrize('width', [7, 48])
def test_folded_flow_equals_unfolded_for_every_preset(name: str, width: int) -> None:
    flow, x = trained(name, width), features(50, width, seed=5)
    folded = fold(flow)
    assert len(folded.couplings) == (10 if name == 'fde_paper' else 4)
    with torch.no_grad():
        exact = flow.double().log_prob(x.double())
        wide = folded.log_prob(x.double())
        narrow = folded.float().log_prob(x)
    assert exact.std() > 0.1
    assert float((wide - exact).abs().max()) <= 1e-6
    assert float((narrow - exact).abs().max() / exact.abs().mean()) <= 1e-5


@pytest.mark.parametrize('name', ['realnvp', 'fde_paper'])
def test_published_flow_is_invertible_with_the_log_determinant_of_its_jacobian(name: str) -> None:
    flow, x = trained(name, 7, hidden=8).double(), features(6, 7, seed=3).double()
    with torch.no_grad():
        z, forward = flow._transform(x)
        back, inverse = flow._transform.inverse(z)
    assert (z - x).abs().max() > 0.1
    assert torch.allclose(back, x, atol=1e-9)
    assert torch.allclose(forward, -inverse, atol=1e-9)
    jacobian = torch.autograd.functional.jacobian(
        lambda row: flow._transform(row[None])[0][0], x[0]
    )
    assert float(forward[0]) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-9)


def test_fde_paper_is_the_published_computation() -> None:
    torch.manual_seed(3)
    published, x = PublishedFlow(10), features(40, 10)
    with torch.no_grad():
        published.log_prob(x)
        for parameter in published.parameters():
            parameter += 0.02 * torch.randn(parameter.shape)
    flow = flow_from_settings(FlowSettings.preset('fde_paper'), 10, seed=1)
    copy_into(published, flow)
    y = features(30, 10, seed=8).double()
    with torch.no_grad():
        expected = published.double().log_prob(y)
        assert expected.std() > 0.5
        assert torch.allclose(flow.double().log_prob(y), expected, rtol=1e-10, atol=1e-10)
        assert torch.allclose(fold(flow).log_prob(y), expected, rtol=1e-8, atol=1e-8)


def test_one_optimiser_step_moves_fde_paper_as_it_moves_the_published_flow() -> None:
    torch.manual_seed(3)
    published, x = PublishedFlow(8, steps=3).double(), features(40, 8).double()
    with torch.no_grad():
        published.log_prob(x)
        for parameter in published.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, dtype=parameter.dtype)
    flow = flow_from_settings(FlowSettings.preset('fde_paper', couplings=3), 8, seed=1).double()
    copy_into(published, flow)
    for one in (published, flow):
        optimizer = torch.optim.Adam(one.parameters(), lr=1e-2)
        (-one.log_prob(x).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        assert torch.allclose(flow.log_prob(x), published.log_prob(x), rtol=1e-8, atol=1e-8)


def test_untrained_fde_paper_folds_to_one_linear_map() -> None:
    x = features(40, 9)
    flow = flow_from_settings(FlowSettings.preset('fde_paper'), 9, seed=1)
    initialize(flow, x)
    folded = fold(flow)
    assert len(folded.couplings) == 0
    with torch.no_grad():
        exact = flow.double().log_prob(x.double())
        assert torch.allclose(folded.log_prob(x.double()), exact, atol=1e-6)


@pytest.mark.parametrize('name', PRESETS)
def test_features_that_never_change_leave_every_preset_finite(name: str) -> None:
    x = features(50, 10)
    x[:, 3] = 0.0
    x[:, 7] = 0.25
    woken = x.clone()
    woken[:, 3] = 0.5
    flow = flow_from_settings(FlowSettings.preset(name), 10, seed=1)
    initialize(flow, x)
    with torch.no_grad():
        normal, strange = -flow.log_prob(x), -flow.log_prob(woken)
    assert torch.isfinite(normal).all()
    assert torch.isfinite(strange).all()
    assert float((strange - normal).min()) > 1.0


def test_actnorm_floor_acts_only_on_features_that_hardly_change() -> None:
    x = features(200, 5)
    layer = Standardizing(5).train()
    y, _ = layer(x)
    assert torch.allclose(y.std(dim=0), torch.ones(5), atol=1e-3)
    x[:, 2] = 0.5
    layer = Standardizing(5).train()
    layer(x)
    typical = x.std(dim=0).square().mean().sqrt()
    assert float(layer.log_std.detach()[2].exp()) == pytest.approx(0.01 * float(typical), rel=1e-3)


def test_linear_map_starts_as_a_rotation() -> None:
    torch.manual_seed(0)
    layer = PLULinear(20).double()
    with torch.no_grad():
        weight, log_det = layer.weight(), float(layer.logabsdet())
    assert torch.allclose(weight @ weight.t(), torch.eye(20).double(), atol=1e-5)
    assert log_det == pytest.approx(0.0, abs=1e-5)


def test_unclamped_log_scale_is_what_the_network_says() -> None:
    mask = torch.tensor([0, 1], dtype=torch.int32)
    coupling = ShiftScaleCoupling(mask, 3, clamp=False)
    with torch.no_grad():
        coupling.transform_net.scale_final.bias.fill_(-40.0)
        _, log_det = coupling(torch.zeros(1, 2))
    assert float(log_det) == 40.0


def test_any_field_of_a_preset_can_be_changed() -> None:
    settings = FlowSettings.preset('fde_paper', steps=40, clamp=True)
    assert (settings.total_steps(10_000), settings.clamp, settings.couplings) == (40, True, 10)
    assert settings.name == 'fde_paper'
    assert FlowSettings.preset() == FlowSettings()


@pytest.mark.parametrize(
    ('name', 'changes', 'message'),
    [
        ('glow', {}, "'default', 'realnvp', 'fde_paper'"),
        ('default', {'layers': 3}, "'hidden', .*, got 'layers'"),
        ('default', {'learning_rate': float('nan')}, 'learning_rate must be at least 0'),
        ('default', {'batch_size': 0}, 'batch_size must be at least 1'),
        ('default', {'choose': 'best'}, "'one_standard_error', 'last'"),
        ('fde_paper', {'whiten': True}, 'whiten goes with coupling only'),
        ('default', {'adam_beta1': 1.0}, 'must be below 1'),
        ('default', {'seed': -1}, 'seed must be at least 0'),
    ],
)
def test_wrong_settings_are_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        FlowSettings.preset(name, **changes)


def test_equal_seeds_build_equal_published_flows() -> None:
    settings = FlowSettings.preset('fde_paper', couplings=2)
    first, second, other = (
        flow_from_settings(settings, 9, seed=seed).state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_width_of_one_is_refused() -> None:
    with pytest.raises(TrainingError, match='at least 2 features'):
        flow_from_settings(FlowSettings.preset('fde_paper'), 1, seed=0)
