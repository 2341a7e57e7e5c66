"""Unleashing Mask: masks, the loss constraint, forgetting, and what is refused."""

# flake8: noqa: E402  (nothing of this can be imported where torch is missing)

from __future__ import annotations

from collections.abc import Iterator
import copy
import dataclasses
from functools import partial
import json
import logging
import math
from pathlib import Path
import re
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('timm')

from torch import nn

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.cli.train_summary import _unmask as unmask_lines
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics.comparison import Difference
from ros_ood_monitor.training.backbones import load_backbone
from ros_ood_monitor.training.export.graphs import export_backbone
from ros_ood_monitor.training.features.open_reader import open_frames, open_reader
from ros_ood_monitor.training.fitting.choice import taken
from ros_ood_monitor.training.fitting.taps import fit_taps
from ros_ood_monitor.training.flows.training import train_flow
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.split import split_frames
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.labels import detector_gain
from ros_ood_monitor.training.labels.class_scores import ClassMeans, energy, msp, odin
from ros_ood_monitor.training.labels.classes import Classes
from ros_ood_monitor.training.labels.detector_gain import DetectorGain, judge_detector
from ros_ood_monitor.training.labels.unmask_frames import unmask_backbone
from ros_ood_monitor.training.labels.unmasked import Unmasked
from ros_ood_monitor.training.preflight import preflight
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.remarks import _unmask
from ros_ood_monitor.training.report.data import UnmaskRow
from ros_ood_monitor.training.report.page.unmask import unmask_section
from ros_ood_monitor.training.settings.config_file import read_config, settings_from
from ros_ood_monitor.training.settings.presets import FlowSettings
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings
from ros_ood_monitor.training.settings.unmask_settings import UnmaskSettings
from ros_ood_monitor.training.trainer import _reproducible
from ros_ood_monitor.training.unmask.constraint import constrain, Constraint
from ros_ood_monitor.training.unmask.descent import (
    flooded,
    Labelled,
    losses,
    Schedule,
    train_classifier,
)
from ros_ood_monitor.training.unmask.forgetting import forget, Forgetting
from ros_ood_monitor.training.unmask.masks import call_masked, draw_scores, fold_masks, top_masks
from tests.training_tools import scene, write_scenes

pytestmark = pytest.mark.usefixtures('exported_once')

BAG = Path(__file__).resolve().parents[1] / 'bags' / 'lunar_orbit'
CLASSES, WRONG = 3, 12
QUICK = Schedule(passes=60, batch_size=32, learning_rate=0.05)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, CLASSES)).eval()


def samples(count: int = 240) -> Labelled:
    """Return points around three places; the first twelve have wrong labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, count)
    inputs = rng.normal(size=(count, 8)).astype(np.float32)
    inputs[np.arange(count), labels] += 3.0
    labels[:WRONG] = (labels[:WRONG] + 1) % CLASSES
    return Labelled(inputs, labels)


@pytest.fixture(scope='module')
def trained() -> nn.Module:
    network = small_network()
    train_classifier(network, samples(), Schedule(200, 32, 0.1, 0.0), seed=0)
    return network


def test_a_mask_keeps_the_largest_scores_of_each_layer_and_passes_gradients_through() -> None:
    scores = {'a': torch.tensor([[0.1, -3.0, 2.0, 0.5]], requires_grad=True)}
    mask = top_masks(scores, 0.5)['a']
    assert mask.tolist() == [[0.0, 1.0, 1.0, 0.0]]  # by size, whatever the sign
    (mask * torch.tensor([[1.0, 2.0, 3.0, 4.0]])).sum().backward()
    # the mask's own gradient, dropped weights included, towards the size of the score
    assert scores['a'].grad.tolist() == [[1.0, -2.0, 3.0, 4.0]]


def test_a_folded_mask_gives_bit_by_bit_what_the_masked_network_gave() -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(24, 2))
    network.eval()
    before = copy.deepcopy(network.state_dict())
    inputs = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    masks = top_masks(draw_scores(network, seed=1), 0.8)
    assert {name: int((mask == 0).sum()) for name, mask in masks.items()} == {
        '0.weight': 32,  # a fifth of 162
        '3.weight': 10,  # of 48
    }
    with torch.no_grad():
        masked, plain = call_masked(network, masks, inputs), network(inputs)
        assert not torch.equal(masked, plain)
        assert all(
            torch.equal(value, before[name]) for name, value in network.state_dict().items()
        )
        fold_masks(network, masks)
        assert torch.equal(network(inputs), masked)


@pytest.mark.parametrize('one', [True, False], ids=['one projection', 'three projections'])
def test_projections_of_an_attention_have_masks_that_are_learnt_and_folded(*, one: bool) -> None:
    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixed = nn.MultiheadAttention(8, 2, kdim=None if one else 4, batch_first=True)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
            self.linear = nn.Linear(8, CLASSES)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            tokens = inputs.reshape(-1, 1, 8) * torch.eye(8)  # (n, 8, 8)
            keys = tokens if one else tokens[..., :4]
            mixed, _ = self.mixed(tokens, keys, tokens, need_weights=False)
            logits: torch.Tensor = self.linear(self.layer(mixed).mean(dim=1))
            return logits

    torch.manual_seed(0)
    network, data = Transformer().eval(), samples(96)
    names = ['in_proj_weight'] if one else [f'{name}_proj_weight' for name in 'qkv']
    masks = top_masks(draw_scores(network, seed=0), 0.5)
    attention = {f'mixed.{name}' for name in names} | {'layer.self_attn.in_proj_weight'}
    assert attention <= masks.keys()
    assert {'mixed.out_proj.weight', 'layer.self_attn.out_proj.weight'} < masks.keys()
    folded, pixels = copy.deepcopy(network), torch.from_numpy(data.inputs)
    fold_masks(folded, masks)
    with torch.no_grad():  # the fused attention of an evaluation
        assert torch.equal(call_masked(network, masks, pixels), folded(pixels))
        only = {name: mask for name, mask in masks.items() if name in attention}
        assert not torch.allclose(call_masked(network, only, pixels), network(pixels))
    first = network.mixed.get_parameter(names[0]).detach().clone()
    drawn = top_masks(draw_scores(network, seed=0), 0.8)[f'mixed.{names[0]}']
    schedule = Schedule(passes=6, batch_size=32, learning_rate=1.0)
    found = forget(network, data, schedule, level=0.1, seed=0, popup_keep=0.8)
    after = network.mixed.get_parameter(names[0])
    kept, weights = found.kept[f'mixed.{names[0]}']
    assert int((after != 0).sum()) == kept == round(0.8 * weights)
    assert bool(((after == first) | (after == 0)).all())
    assert not torch.equal((after != 0).float(), drawn)  # learnt, not only drawn


def test_only_embeddings_of_a_traced_transformer_have_no_mask() -> None:
    models = pytest.importorskip('torchvision').models
    extract = pytest.importorskip('torchvision.models.feature_extraction')
    swin = models.SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4])
    vit = models.VisionTransformer(32, 16, 1, 2, 16, 32)
    for network, tap, embeddings in (
        (swin, 'avgpool', {f'features.{k}.0.attn.relative_position_bias_table' for k in (1, 3)}),
        (vit, 'encoder.ln', {'class_token', 'encoder.pos_embedding'}),
    ):
        cut = extract.create_feature_extractor(network.eval(), [tap])
        matrices = {name for name, value in cut.named_parameters() if value.ndim > 1}
        masks = top_masks(draw_scores(cut, seed=0), 0.5)
        assert matrices - masks.keys() == embeddings
        pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        only = {name: mask for name, mask in masks.items() if 'attn' in name or 'in_proj' in name}
        assert only
        with torch.no_grad():
            masked, plain = call_masked(cut, only, pixels)[tap], cut(pixels)[tap]
            assert not torch.allclose(masked, plain)
            fold_masks(cut, only)
            assert torch.equal(cut(pixels)[tap], masked)


def test_the_constraint_is_the_median_loss_of_several_masks_that_drop_a_few_weights(
    trained: nn.Module,
) -> None:
    data, seen = samples(), []
    labels = torch.from_numpy(data.labels)
    for seed in (5, 6, 7):
        dropped = copy.deepcopy(trained)
        scores = draw_scores(trained, seed=seed)
        for index in (0, 2):
            weight, score = dropped[index].weight, scores[f'{index}.weight']
            count = weight.numel() - round(0.965 * weight.numel())
            lowest = score.abs().flatten().argsort()[:count]
            with torch.no_grad():
                weight.flatten()[lowest] = 0.0
        logits = dropped(torch.from_numpy(data.inputs)).detach()
        seen.append(nn.functional.cross_entropy(logits, labels, reduction='none').numpy())
    found = constrain(trained, data, keep=0.965, masks=3, seed=5)
    assert found.levels == pytest.approx([float(one.mean()) for one in seen], rel=1e-5)
    assert found.level == sorted(found.levels)[1]
    np.testing.assert_allclose(found.losses, np.median(seen, axis=0), rtol=1e-4, atol=1e-6)
    assert found.level > found.plain.mean()


def test_the_median_of_five_masks_hangs_less_on_the_seed_than_one_mask(trained: nn.Module) -> None:
    levels = constrain(trained, samples(), keep=0.965, masks=50, seed=0).levels
    medians = [
        constrain(trained, samples(), keep=0.965, masks=5, seed=seed).level
        for seed in range(0, 50, 5)
    ]
    assert medians == [sorted(levels[k : k + 5])[2] for k in range(0, 50, 5)]
    assert np.std(np.log(medians)) < 0.7 * np.std(np.log(levels))


def test_samples_with_wrong_labels_lose_more_under_masks_than_the_others(
    trained: nn.Module,
) -> None:
    data = samples()
    assert losses(trained, data)[1] == 1.0  # all of them are known by heart
    masked = constrain(trained, data, keep=0.9, masks=5, seed=0).losses
    assert masked[:WRONG].mean() > 3 * masked[WRONG:].mean()


def test_below_the_constraint_the_loss_rises_and_above_it_falls() -> None:
    loss = torch.tensor(0.3, requires_grad=True)
    for level, slope in ((0.5, -1.0), (0.1, 1.0)):
        value = flooded(loss, level)
        assert value.item() == pytest.approx(max(2 * level - 0.3, 0.3))
        assert float(torch.autograd.grad(value, loss)[0]) == slope


def test_um_brings_the_loss_of_a_trained_classifier_up_to_the_constraint(
    trained: nn.Module,
) -> None:
    data, network = samples(), copy.deepcopy(trained)
    assert losses(network, data)[0].mean() < 0.02
    found = forget(network, data, QUICK, level=0.2, seed=0)
    assert losses(network, data)[0].mean() == pytest.approx(0.2, abs=0.05)
    assert 0.05 < found.rising < 0.95
    assert not found.kept


def test_umap_drops_weights_and_leaves_the_others_as_they_were(trained: nn.Module) -> None:
    data, network = samples(), copy.deepcopy(trained)
    found = forget(network, data, QUICK, level=0.2, seed=0, popup_keep=0.8)
    assert found.kept == {'0.weight': (410, 512), '2.weight': (154, 192)}
    for index in (0, 2):
        old, new = trained[index].weight, network[index].weight
        assert bool(((new == old) | (new == 0)).all())
        assert torch.equal(trained[index].bias, network[index].bias)
        assert int((new != 0).sum()) == found.kept[f'{index}.weight'][0]
    # the learnt mask, not any: one that is drawn costs far more than the constraint
    assert abs(losses(network, data)[0].mean() - 0.2) < 0.15
    assert losses(network, data)[1] > 0.9


def test_a_constraint_that_guessing_would_reach_is_refused() -> None:
    at_chance = Constraint(0.5, (math.log(3),), np.full(4, math.log(3)), np.zeros(4), 3)
    with pytest.raises(TrainingError, match=r'less than 1\.099 nats of 3 classes, got 1\.099'):
        at_chance.check()


def test_a_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(TrainingError, match=r'not finite at step \d+.*; lower the learning rate'):
        train_classifier(small_network(), samples(), Schedule(5, 32, 1e30), seed=0)


def test_scores_of_a_classifier_are_their_formulas() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.1, 0.0, 0.0]])
    exponentials = np.exp(logits.double().numpy())
    np.testing.assert_allclose(energy(logits), -np.log(exponentials.sum(axis=1)))
    shares = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(msp(logits), -shares.max(axis=1))
    network = small_network()
    inputs = torch.from_numpy(samples(20).inputs)
    # the step makes every largest probability larger, so every score falls
    still = msp(network(inputs).detach() / 1000.0)
    assert (odin(network, inputs) < still).all()


def test_the_distance_to_class_means_is_that_of_the_nearest_one() -> None:
    data = samples(600)
    means = ClassMeans.fit(data.inputs, data.labels)
    rows = data.inputs[:9]
    inverse = means.weight.T @ means.weight
    centres = [data.inputs[data.labels == k].mean(axis=0) for k in range(CLASSES)]
    expected = [min((row - c) @ inverse @ (row - c) for c in centres) for row in rows]
    np.testing.assert_allclose(means(rows), expected, rtol=1e-4)
    assert means(rows * 10).min() > means(rows).max()


def test_the_last_stage_of_a_traced_network_is_what_makes_its_last_map(tmp_path: Path) -> None:
    models = pytest.importorskip('torchvision').models
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / 'w.pth')
    backbone: Any = load_backbone('torchvision:resnet18', weights=tmp_path / 'w.pth')
    pixels = backbone.normalized(torch.zeros((1, 64, 96, 3), dtype=torch.uint8))
    with torch.no_grad():
        given, expected = backbone.cut(backbone.taps[-2:])(pixels)
        assert torch.equal(backbone.last_stage()(given), expected)
    own = {id(weight) for weight in backbone.network.layer4.parameters()}
    assert {id(weight) for weight in backbone.last_stage().parameters()} == own


def test_the_brake_takes_back_what_an_over_trained_flow_learnt_by_heart() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, 8))
    rows, held_out = (
        (rng.normal(size=(count, 8)) @ mixing).astype(np.float32) for count in (60, 200)
    )
    plain = FlowSettings.preset(choose='last', steps=100, learning_rate=4e-3)
    _, over = train_flow(rows, held_out, settings=plain, seed=0)
    braking = dataclasses.replace(plain, brake_steps=20)
    _, record = train_flow(rows, held_out, settings=braking, seed=0)
    assert record.facts['brake_from'] == 100
    assert record.steps == record.step == 120
    assert record.looks[: len(over.looks)] == over.looks
    # no held-out frame was looked at, and those are told better; the fitted ones worse
    assert over.fit_nll < record.facts['brake'] < over.nll
    assert record.fit_nll > over.fit_nll
    assert record.nll < over.nll - 1.0


def write_classes(root: Path, each: int = 26) -> Path:
    """Write three classes of pictures: bars that lie, that stand, and discs."""
    for kind in range(3):
        folder = root / f'class_{kind}'
        folder.mkdir(parents=True)
        for number in range(each):
            rng = np.random.default_rng([kind, number])
            rgb = scene(number).copy()
            x, y = rng.integers(12, 36, 2).tolist()
            if kind == 2:
                cv2.circle(rgb, (x, y), 9, (255, 30, 30), -1)
            else:
                size = (12, 3) if kind else (3, 12)
                cv2.rectangle(rgb, (x - size[0], y - size[1]), (x + size[0], y + size[1]), 0, -1)
            assert cv2.imwrite(str(folder / f'{number:03d}.png'), rgb[..., ::-1])
    return root


@pytest.fixture
def no_captured_logs() -> Iterator[None]:
    """Keep pytest from storing every DEBUG line of torch's exporter, which doubles its time."""
    logging.disable(logging.DEBUG)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = pytest.importorskip('torchvision').models
    root = tmp_path_factory.mktemp('unmask')
    write_classes(root / 'data')
    torch.manual_seed(0)
    network = models.squeezenet1_1(weights=None)
    for name, weight in network.named_parameters():
        if name.endswith('bias'):  # equal ones would be stored once
            nn.init.normal_(weight, std=0.05)
    torch.save(network.state_dict(), root / 'weights.pth')
    (root / 'training.yaml').write_text(
        f'backbone: torchvision:squeezenet1_1\nweights: {root / "weights.pth"}\ninput_size: 32\n'
        'taps: [head]\ndensity: ppca\nmap: none\nalpha: 0.08\n'
        'unmask: {passes: 40, forget_passes: 4}\n'
    )
    return root


def unmasked(root: Path, **changes: Any) -> Unmasked:
    """Do what training does before it fits anything."""
    config = read_config(root / 'training.yaml')
    settings = settings_from(config, {'data': [root / 'data'], **changes})
    resources = Resources(cache=root / 'cache', device='cpu')
    reader = open_frames(Dataset(settings.data), settings, resources)
    with _reproducible(threads=1), reader.all_frames(lambda _: None) as table:
        split = split_frames(
            table.sequence, rule='block', alpha=settings.alpha, by_sequence=False, seed=0
        )
        return unmask_backbone(reader, table, split, progress=Progress(quiet=True))


@pytest.mark.usefixtures('no_captured_logs')
def test_umap_costs_nothing_onboard_and_is_told_in_manifest_and_report(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ['--data', folders / 'data', '--out', folders / 'umap', '--cache', folders / 'cache']
    args += ['--config', folders / 'training.yaml', '--unmask', 'umap', '--quiet']
    assert main(['train', *map(str, args)]) == 0
    assert 'umap of block: loss ' in capsys.readouterr().out
    raw = Bundle.load(folders / 'umap').manifest.raw
    facts = raw['training']['unmask']
    assert facts['classes'] == ['class_0', 'class_1', 'class_2']
    assert facts['accuracy']['fit']['before'] > 0.4
    assert len(facts['constraint_masks']) == 5
    assert facts['constraint'] == sorted(facts['constraint_masks'])[2]
    assert facts['mask']['kept'] == pytest.approx(0.8 * facts['mask']['weights'], abs=4)
    assert facts['auroc']['odin']['patch'].keys() == {'before', 'after'}
    assert raw['backbone']['weights'].endswith('last stage trained on labels of the data (umap)')
    # once more from the same frames: the same weights, bit by bit
    again = unmasked(folders, **{'unmask.method': 'umap'})
    assert again.backbone.weights_sha256 == raw['backbone']['weights_sha256']
    told = facts.pop('detector')
    assert again.card() == facts
    # the bundle's own detector, with the pretrained backbone and with this one
    assert told['frames'] == {'fit': 56, 'held_out': 7}
    assert list(told['auroc'])[:2] == ['patch', 'scar']
    near, report = told['near'], json.loads((folders / 'umap/report/report.json').read_text())
    assert near['gain'] == pytest.approx(near['after'] - near['before'], abs=2e-4)
    assert report['unmask_detector']['after']['near'] == pytest.approx(near['after'], abs=1e-4)
    assert report['unmask_detector']['before'].keys() == {'near', *told['auroc']}
    helped = near['gain'] > 0.0 and near['gain'] >= near['standard_error']
    assert any('did not help' in line for line in report['warnings']) != helped
    # the same graph with other numbers: operators, shapes and bytes are those without a mask
    plain = load_backbone('torchvision:squeezenet1_1', weights=folders / 'weights.pth')
    was = export_backbone(plain, plain.select('head'), 32, 32)
    now = (folders / 'umap' / 'backbone.fp32.onnx').read_bytes()
    assert was != now
    assert len(was) == len(now)
    graphs = [onnx.load_from_string(content).graph for content in (was, now)]
    operators = [[(node.op_type, list(node.input)) for node in graph.node] for graph in graphs]
    shapes = [{one.name: list(one.dims) for one in graph.initializer} for graph in graphs]
    assert operators[0] == operators[1]
    assert shapes[0] == shapes[1]
    page = (folders / 'umap' / 'report' / 'index.html').read_text()
    assert 'Labels and atypical frames' in page
    assert f'{near["before"]:.3f} \u2192 {near["after"]:.3f}' in page
    atypical = json.loads((folders / 'umap' / 'report' / 'report.json').read_text())['atypical']
    assert 0 < len(atypical) <= 24
    assert atypical == sorted(atypical, key=lambda one: -one['masked'])
    assert atypical[-1]['masked'] > math.log(2.0)
    for one in atypical:  # a file that can be opened
        assert one['place'].startswith(f'data/{one["label"]}/')
        assert (folders / one['place']).is_file()
        assert one['place'] in page
    assert (folders / 'umap' / 'report' / 'atypical.png').stat().st_size > 10_000


@pytest.mark.usefixtures('no_captured_logs')
def test_on_the_pretrained_backbone_the_same_detector_gains_nothing(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config(folders / 'training.yaml')
    settings = settings_from(config, {'data': [folders / 'data']})
    progress = Progress(quiet=True)
    resources = Resources(cache=folders / 'cache', device='cpu')
    reader = open_reader(Dataset(settings.data), settings, resources, progress)
    with _reproducible(threads=1), reader.all_frames(lambda _: None) as table:
        split = split_frames(
            table.sequence, rule='block', alpha=settings.alpha, by_sequence=False, seed=0
        )
        pictures = Pictures.choose(reader, table, split, seed=0)
        probes = reader.features(pictures.all_pseudo())
        every = fit_taps(table, split, settings, probes=probes, store=None, progress=progress)
        fitted = taken(every, 'ppca')
        judge = partial(judge_detector, reader, fitted, table, split, pictures, probes)
        found = judge(density='ppca', progress=progress)
        assert found.before == found.after
        assert found.gain.value == 0.0
        assert not found.helped
        # more than the frames that are compared by: both are fitted to as many
        monkeypatch.setattr(detector_gain, '_MOST', 30)
        fewer = judge(density='ppca', progress=progress)
        assert fewer.frames == (30, len(split.validation))
        assert fewer.before == fewer.after != found.before
        assert judge(density='woods', progress=progress) is None


@pytest.mark.parametrize(
    ('plain', 'level', 'loss', 'rising', 'expected'),
    [
        (0.0001, 0.02, 0.019, 1.0, []),
        (0.0001, 0.02, 0.004, 1.0, ['rose at every step and did not get there; take fewer']),
        (0.0001, 0.02, 0.4, 0.0, [r'0\.4 nats, not near 0\.02; it stayed above at .* take more']),
        (0.0001, 0.02, 0.05, 0.25, ['rose, at 25% of the steps; .* more unmask.forget_passes']),
        (0.0001, 0.0004, 0.0004, 0.9, [r'sure of every frame .* 0\.0004 nats.* fewer unmask']),
        (0.5, 0.4, 0.4, 0.0, ['nothing to forget']),
    ],
)
def test_a_loss_that_is_not_near_the_constraint_is_told_with_its_cure(
    plain: float, level: float, loss: float, rising: float, expected: list[str]
) -> None:
    found = Unmasked(
        backbone=None,  # type: ignore[arg-type]
        settings=UnmaskSettings(method='um'),
        classes=('a', 'b'),
        counts=(4, 4),
        constraint=Constraint(0.965, (level,), np.full(4, level), np.full(4, plain), 2),
        forgetting=Forgetting(rising),
        loss=loss,
        accuracy={'fit': (1.0, 1.0), 'held_out': (1.0, 1.0)},
        before={},
        after={},
        atypical=[],
    )
    lines = _unmask(SimpleNamespace(unmasked=found))  # type: ignore[arg-type]
    assert len(lines) == len(expected)
    for line, match in zip(lines, expected, strict=True):
        assert re.search(match, line)
    (told, _) = unmask_lines(found)
    assert f'loss {plain:.3g}, constraint {level:.3g} ' in told  # 0.0001 is not 0.0000


@pytest.mark.parametrize(
    ('gain', 'error', 'helped'),
    [(0.05, 0.02, True), (0.01, 0.02, False), (-0.05, 0.02, False), (0.05, math.inf, False)],
)
def test_a_detector_gained_where_the_difference_is_more_than_chance(
    gain: float, error: float, helped: bool
) -> None:
    near = (0.7, 0.7 + gain)
    found = DetectorGain((4, 4), {'patch': 0.7}, {'patch': near[1]}, near, Difference(gain, error))
    assert found.helped == helped
    told = found.card()['near']
    assert told['standard_error'] == (None if math.isinf(error) else error)
    quiet = SimpleNamespace(
        settings=UnmaskSettings(method='um'),
        accuracy={'held_out': (1.0, 1.0)},
        counts=(4, 4),
        constraint=Constraint(0.965, (0.2,), np.full(4, 0.2), np.zeros(4), 2),
        loss=0.2,
        detector=found,
    )
    lines = _unmask(SimpleNamespace(unmasked=quiet))  # type: ignore[arg-type]
    assert [f'{near[0]:.3f} with the pretrained backbone' in line for line in lines] == (
        [] if helped else [True]
    )


def test_only_samples_that_stand_out_are_atypical() -> None:
    found = Constraint(0.9, (), np.array([0.1, 0.7, 0.69, 3.0]), np.zeros(4), 5)
    assert found.atypical.tolist() == [3, 1]  # over log 2
    assert Constraint(0.9, (), np.zeros(4), np.zeros(4), 5).atypical.size == 0
    sure = nn.Linear(1, 2)
    with torch.no_grad():
        sure.weight.copy_(torch.tensor([[0.0], [99.0]]))
    loss, _ = losses(sure, Labelled(np.full((2, 1), 9.0, np.float32), np.ones(2, np.int64)))
    assert not np.signbit(loss).any()  # no -0


def test_forgetting_takes_no_batch_of_one_sample() -> None:
    network, sizes = small_network(), []
    network.register_forward_hook(lambda _, __, out: sizes.append(len(out)))
    forget(network, samples(65), Schedule(2, 32, 0.01), level=0.2, seed=0)
    assert sizes == [32, 33] * 2


def test_of_the_head_only_the_classifier_changes_and_of_all_every_stage(folders: Path) -> None:
    plain: Any = load_backbone('torchvision:squeezenet1_1', weights=folders / 'weights.pth')
    first = plain.network.features[0].weight
    quick = {'unmask.method': 'um', 'unmask.passes': 12, 'unmask.forget_passes': 1}
    head = unmasked(folders, density='vim', **quick, **{'unmask.part': 'head'})
    assert head.backbone.classifier.weight.shape == (3, 512)
    assert head.backbone.weights_sha256 == plain.weights_sha256
    assert torch.equal(head.backbone.network.features[0].weight, first)
    every = unmasked(folders, **quick, **{'unmask.part': 'all'})
    assert not torch.equal(every.backbone.network.features[0].weight, first)
    assert not any(weight.requires_grad for weight in every.backbone.network.parameters())
    assert every.counts == (56, 22)


def test_frames_without_labels_and_settings_that_change_nothing_are_refused(
    tmp_path: Path,
) -> None:
    write_scenes(tmp_path / 'flat', 60)
    write_scenes(tmp_path / 'one' / 'only', 60)
    write_classes(tmp_path / 'classes')
    (tmp_path / 'net.onnx').write_bytes(b'x')

    def refused(message: str, data: Path, *, method: str = 'um', **changes: Any) -> None:
        part = changes.pop('part', 'block')
        settings = TrainSettings(
            data=[data], alpha=0.1, unmask=UnmaskSettings(method=method, part=part), **changes
        )
        with pytest.raises(TrainingError, match=message):
            preflight(settings, tmp_path / 'out')

    refused(r'unmask needs labels: .* got flat without a class', tmp_path / 'flat')
    refused(r'unmask needs labels: .* got lunar_orbit/bag without a class', BAG)
    refused('at least 2 classes: .* got only only', tmp_path / 'one')
    refused("only density 'vim' reads", tmp_path / 'classes', part='head')
    refused('expected no tiles', tmp_path / 'classes', tiles='2x2')
    refused('got an ONNX file', tmp_path / 'classes', backbone=str(tmp_path / 'net.onnx'))
    refused(r"unmask\.method is unknown: .* got 'pruning'", tmp_path / 'classes', method='pruning')
    refused('unmask.part is of a method', BAG, method='none', part='all')
    shallow = {'taps': ('blocks.2', 'blocks.3'), 'part': 'block'}
    refused("expected 'head' among the taps, got 'blocks.3'", tmp_path / 'classes', **shallow)
    refused('coreset is of knn: .*or leave out --coreset', tmp_path / 'classes', coreset=99)
    for key in ('learning_rate', 'popup_learning_rate'):
        with pytest.raises(TrainingError, match=f'unmask.{key} .* more than 0 and finite, got 0'):
            UnmaskSettings(**{key: 0.0}).check()
    for density, map_density in (('knn', 'auto'), ('evidence', 'auto'), ('auto', 'knn')):
        TrainSettings(coreset=99, density=density, map_density=map_density).check()
    with pytest.raises(TrainingError, match=r"at least 8 fitted ones of each, got of 'b' 7;"):
        Classes(('a', 'b'), (0, 1)).check(np.array([0] * 8 + [1] * 7))
    with pytest.raises(TrainingError, match=r'unmask\.masks out of range: .* least 1, got 0'):
        UnmaskSettings(masks=0).check()
    with pytest.raises(TrainingError, match=r'unmask\.keep out of range: .* got 1\.0'):
        UnmaskSettings(keep=1.0).check()


def test_a_report_without_an_atypical_frame_says_so() -> None:
    scores = [UnmaskRow('msp', {'patch': 0.7}, {'patch': 0.8})]
    data = SimpleNamespace(
        unmask_facts={'method': 'um'}, unmask_aurocs=scores, unmask_detector=None, atypical=[]
    )
    page = unmask_section(data, {})  # type: ignore[arg-type]
    assert 'No fitted frame stands out' in page
    assert 'detector of this bundle was not compared' in page
    assert '<figure>' not in page
