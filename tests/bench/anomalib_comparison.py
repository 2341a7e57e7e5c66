"""
Compare with anomalib's PaDiM, FastFlow and PatchCore: the same frames, one run.

anomalib is for this alone, in an environment of its own that borrows the heavy packages of the
one with the extra ``train``; no second OpenCV, which would hide the first::

    python -m venv cmp
    echo TRAIN_ENV/lib/python3.11/site-packages > cmp/lib/python3.11/site-packages/train.pth
    cmp/bin/pip install --no-deps anomalib==2.7.0 FrEIA lightning lightning-utilities \
        pytorch-lightning torchmetrics kornia kornia_rs omegaconf antlr4-python3-runtime \
        jsonargparse typeshed_client rich-argparse pandas einops scikit-image lazy-loader
    cmp/bin/python -m tests.bench.anomalib_comparison --data FIT --test CLEAN --ood DEFECT ...
    cmp/bin/python -m tests.bench.anomalib_comparison --data TEMPLATES --boxes BOARDS/00041 ...

The weights of anomalib's default backbones (ResNet-18, Wide ResNet-50) come from hubs alone, and
are in no package. So accuracy is compared on EfficientNet-Lite0, whose weights are, with stages of
the same strides, and everything else as anomalib has it; its default configuration, with random
weights, is timed only, which weights do not change. FastFlow knows no such backbone: its own
blocks are put on it. PatchCore's coreset is chosen by the same greedy rule, without the random
projection that makes it approximate. FastFlow trains as long as it is told to.

A time is that from the picture (H, W, 3) to its score and its map, one thread, in turn in one run;
``ort`` is the same network exported to ONNX Runtime, which anomalib has no inferencer for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
import io
import json
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Any, TypeAlias
import warnings

from anomalib.models import Fastflow, Padim, Patchcore
from anomalib.models.image.fastflow.torch_model import create_fast_flow_block
import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn, Tensor
from torchvision.transforms.v2 import Compose, Normalize, Resize

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines.ort_engine import open_session, OrtEngine
from ros_ood_monitor.evaluation.images.boxes import read_boxes
from ros_ood_monitor.evaluation.images.pixels import Mapper
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import interleave, ratio
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.images import image_files, read_image
from ros_ood_monitor.metrics import auroc, auroc_difference, auroc_interval
from ros_ood_monitor.metrics.boxes import box_hits, mask_of_boxes
from ros_ood_monitor.metrics.pixels import PixelScores
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.backbones import load_backbone
from ros_ood_monitor.training.export.scorer import highest_mean
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings
from ros_ood_monitor.training.trainer import train

Image: TypeAlias = npt.NDArray[np.uint8]
Map: TypeAlias = npt.NDArray[np.float32]
Answer: TypeAlias = tuple[float, Map]
"""The score of a picture, and its map in the picture's own pixels or on a grid over all of it."""

BACKBONE = 'efficientnet_lite0'
STRIDES_4_8_16 = ['blocks.1', 'blocks.2', 'blocks.4']
THEIR_SIDE = 256
NORMAL_SHARE = 0.01

_MEMORY = """
import json, re, sys
import numpy as np
from ros_ood_monitor.engines.ort_engine import open_session
def memory():
    with open('/proc/self/status') as status:
        return int(re.search(r'VmRSS:\\s+(\\d+) kB', status.read())[1]) / 1024
before, sessions = memory(), [open_session(open(file, 'rb').read()) for file in sys.argv[1:]]
for session in sessions:
    feed = {
        one.name: np.zeros(
            [size if isinstance(size, int) else 1 for size in one.shape],
            np.uint8 if 'uint8' in one.type else np.float32,
        )
        for one in session.get_inputs()
    }
    for _ in range(3):
        session.run(None, feed)
print(memory() - before)
"""


class Theirs:
    """
    One of anomalib's models, from the picture to score and map.

    Parameters
    ----------
    model : nn.Module
        What anomalib's own module holds.
    side : int
        Of its input, in px.
    mean, std : sequence of float
        That its input is normalised with.

    """

    def __init__(self, model: Any, side: int, mean: Sequence[float], std: Sequence[float]) -> None:
        self.model = model
        self.side = side
        self.transform = Compose([Resize((side, side), antialias=True), Normalize(mean, std)])
        self.fit_s = 0.0
        self.facts: dict[str, float] = {}

    def prepared(self, image: Image) -> Tensor:
        """Return the network's input, (1, 3, side, side)."""
        planes = torch.from_numpy(image).permute(2, 0, 1)[None]  # (1, 3, H, W)
        ready: Tensor = self.transform(planes.float() / 255.0)
        return ready

    @torch.no_grad()
    def __call__(self, image: Image) -> Answer:
        """Return score and map."""
        found = self.model(self.prepared(image))
        return float(found.pred_score), found.anomaly_map[0, 0].numpy()

    def batches(self, files: Sequence[Path], size: int) -> Iterator[Tensor]:
        """Yield network inputs."""
        for start in range(0, len(files), size):
            yield torch.cat([self.prepared(read_image(f)) for f in files[start : start + size]])

    def exported(self) -> bytes:
        """Return the network as ONNX, for one picture."""
        out = io.BytesIO()
        torch.onnx.export(
            Plain(self.model).eval(),  # else the export leaves the model in training mode
            (torch.zeros(1, 3, self.side, self.side),),
            out,
            dynamo=False,
            opset_version=17,
        )
        return out.getvalue()


class Plain(nn.Module):
    """A model of anomalib's without its named result, which cannot be exported."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return score and map."""
        found = self.model(x)
        return found.pred_score, found.anomaly_map


class Exported:
    """A model of anomalib's in ONNX Runtime."""

    def __init__(self, theirs: Theirs) -> None:
        self.theirs, self.onnx = theirs, theirs.exported()
        self.session = open_session(self.onnx)
        self.input = self.session.get_inputs()[0].name

    def __call__(self, image: Image) -> Answer:
        """Return score and map."""
        found = self.session.run(None, {self.input: self.theirs.prepared(image).numpy()})
        return float(found[0].ravel()[0]), found[1][0, 0]


class Ours:
    """
    A trained bundle, from the picture to raw_score and map.

    Parameters
    ----------
    bundle : Bundle
        With a map.

    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.engine = OrtEngine(bundle)
        height, width = bundle.manifest.input_height, bundle.manifest.input_width
        self.preprocess = Preprocessor(height, width)
        self.mapper = Mapper(self.preprocess)

    def __call__(self, image: Image) -> Answer:
        """Return raw_score and the map in the picture's own pixels."""
        found = self.engine.infer(self.preprocess(image))
        assert found.patch_score is not None
        return float(found.raw_score[0]), self.mapper(found.patch_score[0], image.shape[:2])


class OurMap(Ours):
    """The map of a trained bundle alone: its highest cells are the score."""

    def __call__(self, image: Image) -> Answer:
        """Return the local score and the map on its grid."""
        found = self.engine.infer(self.preprocess(image))
        assert found.patch_score is not None
        return float(highest_mean(found.patch_score)[0]), found.patch_score[0]


def lite0(side: int, model: Any) -> Theirs:
    """Return a model of anomalib's whose frozen backbone has EfficientNet-Lite0's weights."""
    weights = load_backbone(BACKBONE).network.state_dict()
    extractor = model.feature_extractor
    extractor = getattr(extractor, 'feature_extractor', extractor)
    wanted = extractor.state_dict()
    extractor.load_state_dict({key: weights[key] for key in wanted}, strict=True)
    return Theirs(model, side, [0.5] * 3, [0.5] * 3)


def bare(kind: Any, **options: Any) -> Any:
    """Return the network of an anomalib module with random weights."""
    return kind(
        pre_trained=False, post_processor=False, evaluator=False, visualizer=False, **options
    ).model


def fastflow_on_lite0(side: int) -> Any:
    """Return FastFlow with its own blocks and norms on stages that it does not know."""
    import timm

    model = bare(Fastflow, pre_processor=Fastflow.configure_pre_processor((side, side)))
    network = timm.create_model(f'tf_{BACKBONE}', features_only=True, out_indices=[1, 2, 3])
    model.feature_extractor = network.requires_grad_(False)
    shapes = [
        [channels, side // scale, side // scale]
        for channels, scale in zip(
            network.feature_info.channels(), network.feature_info.reduction(), strict=True
        )
    ]
    model.norms = nn.ModuleList(nn.LayerNorm(shape) for shape in shapes)
    model.fast_flow_blocks = nn.ModuleList(
        create_fast_flow_block(shape, conv3x3_only=False, hidden_ratio=1.0, flow_steps=8)
        for shape in shapes
    )
    return model


def fit_padim(one: Theirs, files: Sequence[Path]) -> None:
    """Fit a Gaussian at every place."""
    one.model.train()
    one.model.feature_extractor.eval()
    for batch in one.batches(files, 16):
        one.model(batch)
    one.model.fit()
    one.model.eval()


def fit_patchcore(one: Theirs, files: Sequence[Path]) -> None:
    """Keep a tenth of all cells: ever the farthest from those kept."""
    one.model.train()
    one.model.feature_extractor.eval()
    rows = torch.cat([one.model(batch) for batch in one.batches(files, 16)])  # (n, D)
    one.model.embedding_store.clear()
    lengths = rows.square().sum(dim=1)  # (n,)
    nearest = torch.full_like(lengths, torch.inf)
    chosen = [int(torch.randint(len(rows), ()))]
    for _ in range(len(rows) // 10 - 1):
        row = chosen[-1]
        nearest = torch.minimum(nearest, lengths - 2.0 * (rows @ rows[row]) + lengths[row])
        nearest[row] = -torch.inf
        chosen.append(int(nearest.argmax()))
    one.model.memory_bank = rows[chosen]
    one.facts['coreset'] = len(chosen)
    one.model.eval()


def fit_fastflow(one: Theirs, files: Sequence[Path], seconds: float) -> None:
    """Train with anomalib's loss and optimiser for some time."""
    loss_of = Fastflow(
        pre_trained=False, post_processor=False, evaluator=False, visualizer=False
    ).loss
    model = one.model.train()
    free = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(free, lr=0.001, weight_decay=0.00001)
    inputs = list(one.batches(files, 32))
    started, steps, loss = time.perf_counter(), 0, torch.zeros(())
    while time.perf_counter() - started < seconds:
        loss = loss_of(*model(inputs[steps % len(inputs)]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    one.facts |= {'steps': steps, 'epochs': steps / len(inputs), 'loss': float(loss)}
    model.eval()


def on_our_backbone(args: argparse.Namespace, files: Sequence[Path]) -> dict[str, Theirs]:
    """Return anomalib's models fitted to files, on EfficientNet-Lite0."""
    side, name = args.input_size, f'tf_{BACKBONE}'
    torch.manual_seed(0)
    fits: dict[str, tuple[Theirs, Callable[[Theirs], None]]] = {
        'PaDiM': (
            lite0(side, bare(Padim, backbone=name, layers=STRIDES_4_8_16, n_features=100)),
            lambda one: fit_padim(one, files),
        ),
        'PatchCore': (
            lite0(side, bare(Patchcore, backbone=name, layers=STRIDES_4_8_16[1:])),
            lambda one: fit_patchcore(one, files),
        ),
        'FastFlow': (
            lite0(side, fastflow_on_lite0(side)),
            lambda one: fit_fastflow(one, files, args.fastflow_s),
        ),
    }
    found = {}
    if not args.fastflow_s:
        del fits['FastFlow']
    for kind, (one, fit) in fits.items():
        started = time.perf_counter()
        fit(one)
        one.fit_s = time.perf_counter() - started
        print(f'{kind}: fitted in {one.fit_s:.0f} s {one.facts}', flush=True)
        found[f'{kind}, Lite0'] = one
    return found


def defaults(count: int) -> dict[str, Theirs]:
    """Return anomalib's default configurations as after a fit to so many pictures."""
    torch.manual_seed(0)
    models = {
        'PaDiM, ResNet-18': bare(Padim),
        'FastFlow, ResNet-18': bare(Fastflow),
        'PatchCore, WRN-50': bare(Patchcore),
    }
    padim, patchcore = models['PaDiM, ResNet-18'], models['PatchCore, WRN-50']
    cells = (THEIR_SIDE // 4) ** 2
    padim.gaussian.mean = torch.zeros(100, cells)
    padim.gaussian.inv_covariance = torch.eye(100).repeat(cells, 1, 1)
    patchcore.memory_bank = torch.randn(count * (THEIR_SIDE // 8) ** 2 // 10, 512 + 1024)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return {name: Theirs(one.eval(), THEIR_SIDE, mean, std) for name, one in models.items()}


def our_bundles(args: argparse.Namespace, data: Path, scratch: Path) -> dict[str, Ours]:
    """Train what is compared."""
    found = {}
    for density in args.densities:
        settings = TrainSettings(
            data=(data,), density=density, alpha=args.alpha, input_size=args.input_size
        )
        started = time.perf_counter()
        result = train(settings, scratch / density, resources=Resources(device='cpu'))
        print(f'ours, {density}: trained in {time.perf_counter() - started:.0f} s', flush=True)
        found[f'ours, {density}'] = Ours(result.bundle)
    return found


def frames(one: Callable[[Image], Answer], files: Sequence[Path]) -> npt.NDArray[np.float64]:
    """Return the scores of pictures."""
    return np.array([one(read_image(file))[0] for file in files])


def of_boxes(
    one: Callable[[Image], Answer], folders: Sequence[Path], every: int
) -> dict[str, float]:
    """Return figures over the pixels of pictures with defects."""
    pixels, heats = PixelScores(), []
    for folder in folders:
        for file in sorted(folder.glob('*_test.jpg'))[::every]:
            image = read_image(file)
            height, width = image.shape[:2]
            boxes = read_boxes(
                file.with_name(file.name.replace('_test.jpg', '.txt')), height, width
            )
            heat = one(image)[1]
            if heat.shape != (height, width):
                heat = cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR)
            pixels.add(heat, mask_of_boxes(boxes, height, width))
            heats.append((heat.astype(np.float32), boxes))
    hits = box_hits(heats, pixels.threshold_at(NORMAL_SHARE))
    return {
        **pixels.metrics()._asdict(),
        'anomalous_share': pixels.anomalous_share,
        'pictures': len(heats),
        'boxes': hits.count,
        'hits': hits.rate,
        'hits_by_chance': hits.chance,
    }


def accuracy(
    contenders: dict[str, Callable[[Image], Answer]], args: argparse.Namespace
) -> dict[str, Any]:
    """Return what every contender finds."""
    found: dict[str, Any] = {name: {} for name in contenders}
    normal, strange = {}, {}
    test = image_files(args.test)[:: args.every_test] if args.test else []
    ood = {folder.name: image_files(folder)[:: args.every_ood] for folder in args.ood}
    for name, one in contenders.items():
        if test:
            normal[name] = frames(one, test)
            strange[name] = {key: frames(one, files) for key, files in ood.items()}
        if args.boxes:
            found[name]['boxes'] = of_boxes(one, args.boxes, args.every)
    first = next(iter(contenders))
    for name in normal:
        found[name]['frames'] = {}
        for key in ood:
            lead = auroc_difference(
                (normal[name], normal[first]), (strange[name][key], strange[first][key])
            )
            found[name]['frames'][key] = {
                'auroc': auroc(normal[name], strange[name][key]),
                'auroc_95': list(auroc_interval(normal[name], strange[name][key], seed=0)),
                'lead_of_ours': lead.value,
                'standard_error': lead.standard_error,
            }
    sizes = np.array([file.stat().st_size for file in test], np.float64)
    by_size = {
        key: auroc(sizes, np.array([file.stat().st_size for file in files], np.float64))
        for key, files in ood.items()
    }
    return {
        'pictures': {'test': len(test), **{key: len(files) for key, files in ood.items()}},
        'file_size_auroc': {key: max(area, 1.0 - area) for key, area in by_size.items()},
        'contenders': found,
    }


def memory(files: Sequence[Path]) -> float:
    """Return what sessions of ONNX files take in a process of their own, in MiB."""
    run = subprocess.run(
        [sys.executable, '-c', _MEMORY, *map(str, files)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(run.stdout)


def costs(
    contenders: dict[str, Callable[[Image], Answer]], image: Image, rounds: int, scratch: Path
) -> dict[str, Any]:
    """Return times and memory of everything, anomalib's in ONNX Runtime, too."""
    every = dict(contenders)
    files: dict[str, list[Path]] = {}
    for name, one in contenders.items():
        if isinstance(one, Ours):
            files[name] = [scratch / f'{len(files)}_{part}.onnx' for part in ('a', 'b')]
            for path, graph in zip(
                files[name], (one.bundle.backbone(), one.bundle.scorer()), strict=True
            ):
                path.write_bytes(graph)
        elif isinstance(one, Theirs):
            try:
                exported = Exported(one)
            except Exception as error:  # noqa: BLE001, what an exporter refuses is a result
                print(f'{name}: not exported: {type(error).__name__}: {error}', flush=True)
                continue
            every[f'{name}, ort'] = exported
            files[f'{name}, ort'] = [scratch / f'{len(files)}.onnx']
            files[f'{name}, ort'][0].write_bytes(exported.onnx)
    timed = {name: (lambda _, one=one: one(image)) for name, one in every.items()}
    times = interleave(timed, rounds=rounds, burst=1, warm_up=1)
    first = times[next(iter(times))]
    return {
        name: {
            'ms': float(np.median(times[name])),
            'times_ours': ratio(times[name], first).median,
            **(
                {
                    'mib_onnx': sum(path.stat().st_size for path in files[name]) / 2**20,
                    'mib_process': memory(files[name]),
                }
                if name in files
                else {}
            ),
        }
        for name in every
    }


def compare(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Fit, judge and time everything."""
    given = sorted(file for folder in args.data for file in image_files(folder))
    if args.pattern:
        given = [file for file in given if file.match(args.pattern)]
    files = [given[k] for k in np.linspace(0, len(given) - 1, args.most).astype(int)]
    data = scratch / 'fit.txt'
    data.write_text('\n'.join(str(file.resolve()) for file in files))
    ours = our_bundles(args, data, scratch)
    maps = {f'{name}, map alone': OurMap(one.bundle) for name, one in ours.items()}
    theirs = on_our_backbone(args, files)
    fitted: dict[str, Callable[[Image], Answer]] = {**ours, **maps, **theirs}
    found = accuracy(fitted, args)
    print(json.dumps(found['contenders']), flush=True)
    image = read_image(files[0])
    return {
        'fitted_to': len(files),
        'picture': list(image.shape[:2]),
        'input_size': args.input_size,
        **found,
        'theirs': {name: {'fit_s': one.fit_s, **one.facts} for name, one in theirs.items()},
        'cost': costs({**fitted, **defaults(len(files))}, image, args.rounds, scratch),
    }


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    add = parser.add_argument
    add('--data', type=Path, nargs='+', required=True, help='pictures to fit to')
    add('--pattern', default='', help='of the names of those, such as *_temp.jpg')
    add('--most', type=int, default=120, help='so many of them, evenly')
    add('--test', type=Path, help='normal pictures to test frames on')
    add('--every-test', type=int, default=1)
    add('--ood', type=Path, nargs='*', default=[])
    add('--every-ood', type=int, default=1)
    add('--boxes', type=Path, nargs='*', default=[])
    add('--every', type=int, default=1, help='of the pictures with boxes')
    add('--densities', nargs='+', default=['auto', 'evidence'], help='of ours')
    add('--input-size', type=int, default=224, help='of all on the same backbone')
    add('--alpha', type=float, default=0.05)
    add(
        '--fastflow-s', type=float, default=120.0, help='that FastFlow trains, in s; 0: not at all'
    )
    add('--rounds', type=int, default=7)
    add('--json', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    before = context()
    with tempfile.TemporaryDirectory() as scratch:
        facts = compare(args, Path(scratch))
    facts['context'] = {**before, 'torch': torch.__version__}
    show(facts)
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


def show(facts: dict[str, Any]) -> None:
    """Print the table."""
    folders = list(facts['file_size_auroc'])
    rows = [('', *folders, 'pixels, AP, AUPRO, boxes', 'ms', 'x ours', 'MiB')]
    for name, cost in facts['cost'].items():
        row = facts['contenders'].get(name, {})
        areas = row.get('frames', {})
        boxes = row.get('boxes')
        rows.append(
            (
                name,
                *(f'{areas[key]["auroc"]:.3f}' if areas else '' for key in folders),
                ', '.join(f'{boxes[key]:.3f}' for key in ('auroc', 'ap', 'aupro', 'hits'))
                if boxes
                else '',
                f'{cost["ms"]:.1f}',
                f'{cost["times_ours"]:.2f}',
                f'{cost["mib_process"]:.0f}' if 'mib_process' in cost else '',
            )
        )
    print(text_table(rows))


if __name__ == '__main__':
    main()
