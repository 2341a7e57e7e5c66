"""Evaluation of maps: masks and boxes are found and read, and refused where they do not fit."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
import shutil

import cv2
import numpy as np
import pytest

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli import evaluate as verb
from ros_ood_monitor.engines import Engine, open_engine
from ros_ood_monitor.errors import OodMonitorError, ParameterError
from ros_ood_monitor.evaluation.gate import check_gate, Limit
from ros_ood_monitor.evaluation.images import report
from ros_ood_monitor.evaluation.images.boxes import BoxFolder, read_boxes
from ros_ood_monitor.evaluation.images.evaluate import evaluate, Evaluation
from ros_ood_monitor.evaluation.images.masks import read_mask
from ros_ood_monitor.evaluation.images.mvtec import mvtec_layout
from ros_ood_monitor.evaluation.images.pixels import NORMAL_SHARE, PixelEvaluation
from ros_ood_monitor.evaluation.images.sheet import save_sheet, worst
from ros_ood_monitor.images import read_image
from ros_ood_monitor.maps.colours import CALIBRATED
from ros_ood_monitor.maps.mapper import Mapper
from ros_ood_monitor.maps.overlay import overlay
from ros_ood_monitor.metrics import aupr, auroc
from ros_ood_monitor.metrics.boxes import Box, box_hits
from ros_ood_monitor.metrics.pixels import PixelScores
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.preprocess import Preprocessor
from tests.tiny_bundle import make_tiny_bundle

SHARED = Path(__file__).resolve().parents[3] / 'shared'
Place = tuple[int, int, int, int]


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', maps=True)


@pytest.fixture(scope='module')
def engine(bundle: Bundle) -> Engine:
    return open_engine(bundle)


def _write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def _noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(112, 144, (60, 90, 3), dtype=np.uint8)


def _category(root: Path) -> Path:
    """Write a category in the MVTec layout: spots that are red, and fainter ones."""
    rng = np.random.default_rng(30)
    for k in range(10):
        _write(root / f'train/good/{k:03}.png', _noise(rng))
        _write(root / f'test/good/{k:03}.png', _noise(rng))
    for kind, colour in (('red', (0, 0, 255)), ('faint', (150, 118, 118))):
        for k in range(5):
            pixels, mask = _noise(rng), np.zeros((60, 90), np.uint8)
            y, x = int(rng.integers(4, 36)), int(rng.integers(4, 66))
            pixels[y : y + 18, x : x + 18] = colour
            mask[y : y + 18, x : x + 18] = 255
            _write(root / f'test/{kind}/{k:03}.png', pixels)
            _write(root / f'ground_truth/{kind}/{k:03}_mask.png', mask)
    return root


@pytest.fixture(scope='module')
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _category(tmp_path_factory.mktemp('mvtec') / 'tile')


@pytest.fixture(scope='module')
def result(bundle: Bundle, engine: Engine, category: Path) -> Evaluation:
    return evaluate(bundle, engine, images=category, resamples=50)


def _pixels(result: Evaluation) -> PixelEvaluation:
    assert result.pixels is not None
    return result.pixels


def test_the_mvtec_layout_is_recognised(category: Path, result: Evaluation) -> None:
    layout = mvtec_layout(category)
    assert layout is not None
    assert [kind.name for kind in layout.kinds] == ['faint', 'red']
    assert layout.masks == category / 'ground_truth'
    assert result.id_folder.path == category / 'test/good'
    assert [(row.name, row.count) for row in result.rows] == [('faint', 5), ('red', 5)]


def test_the_overall_row_is_all_kinds_as_one(result: Evaluation) -> None:
    known = result.id_folder.raw_score
    others = np.concatenate([folder.raw_score for folder in result.ood_folders])
    assert (result.overall.name, result.overall.count) == ('all', 10)
    assert result.overall.auroc == auroc(known, others)
    assert result.overall.aupr == aupr(known, others)


def test_pixel_figures_are_those_of_the_maps_and_masks(
    bundle: Bundle, engine: Engine, category: Path, result: Evaluation
) -> None:
    mapper, scores = Mapper(Preprocessor(32, 48)), PixelScores()
    for file in sorted((category / 'test').rglob('*.png')):
        batch = cv2.resize(read_image(file), (48, 32), interpolation=cv2.INTER_AREA)
        patches = engine.infer(batch[np.newaxis]).patch_score
        assert patches is not None
        mask_file = category / 'ground_truth' / file.parent.name / f'{file.stem}_mask.png'
        mask = cv2.imread(str(mask_file), cv2.IMREAD_GRAYSCALE) if mask_file.exists() else None
        scores.add(mapper(patches[0], (60, 90)), None if mask is None else mask > 0)
    overall = _pixels(result).overall
    assert overall.metrics == pytest.approx(scores.metrics())
    assert (overall.images, overall.regions) == (10, 10)
    assert overall.intervals is not None
    for exact, interval in zip(overall.metrics, overall.intervals, strict=True):
        assert interval.low - 2e-3 <= exact <= interval.high + 2e-3


def test_a_kind_that_is_plain_to_see_has_the_better_maps(result: Evaluation) -> None:
    faint, red = _pixels(result).rows
    assert (faint.name, red.name) == ('faint', 'red')
    assert red.metrics.auroc > 0.99
    assert red.metrics.aupro > 0.9
    assert all(a > b for a, b in zip(red.metrics, faint.metrics, strict=True))


def test_regions_are_those_of_the_monitor(bundle: Bundle, result: Evaluation) -> None:
    monitor = Monitor.from_bundle(bundle)
    maps = result.maps
    assert maps is not None
    folders = (result.id_folder, *result.ood_folders)
    for folder, row in zip(folders, (maps.known, *maps.rows), strict=True):
        seen = [
            bool(monitor.observe_image(read_image(folder.path / file), stamp=0.0).regions)
            for file in folder.files
        ]
        assert (row.name, row.count) == (folder.name, len(seen))
        assert row.with_region == sum(seen) / len(seen)
    assert (maps.known.with_region, maps.rows[1].with_region) == (0.0, 1.0)
    found = report.facts(result)['map']
    calibration = bundle.calibration('fp32').map
    assert calibration is not None
    assert found['threshold'] == calibration.threshold
    assert found['ood_with_region'] == maps.overall.with_region
    gate = {'map.id_with_region': Limit(most=0.0), 'map.rows.red.with_region': Limit(least=1.0)}
    assert check_gate(report.facts(result), gate) == []


def test_pictures_over_the_maps_threshold_that_should_not_be_are_noted(
    bundle: Bundle, engine: Engine, category: Path, result: Evaluation
) -> None:
    note = "is over the map's threshold more often than chance allows"
    swapped = evaluate(
        bundle, engine, images=category / 'test/red', ood=[category / 'test/good'], resamples=1
    )
    assert f'red {note}' in report.to_text(swapped)
    assert note not in report.to_text(result)


def test_the_sheet_shows_what_the_robot_shows(
    bundle: Bundle, result: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = pytest.importorskip('matplotlib.axes').Axes
    drawn: list[np.ndarray] = []
    plain = axes.imshow
    monkeypatch.setattr(
        axes, 'imshow', lambda self, rgb, **how: drawn.append(rgb) or plain(self, rgb, **how)
    )
    save_sheet(tmp_path / 'sheet.png', result)
    monitor = Monitor.from_bundle(bundle)
    picks = [pick for part in worst(result) for pick in part]
    assert len(drawn) == len(picks) == 16
    for pick, rgb in zip(picks, drawn, strict=True):
        picture = read_image(pick.folder.path / pick.folder.files[pick.number])
        heat = monitor.observe_image(picture, stamp=0.0).heatmap
        assert heat is not None
        assert np.array_equal(rgb, overlay(picture, heat, CALIBRATED))
    # 1 % of these pictures' pixels are over a threshold of their own, none over the robot's
    assert (np.ptp(drawn[0].reshape(-1, 3).astype(int), axis=1) < 40).all()


def test_json_has_the_objects_image_and_pixel(result: Evaluation, category: Path) -> None:
    text = report.to_json(result)
    read = json.loads(text)
    for part, names in (('image', ('auroc', 'ap')), ('pixel', ('auroc', 'ap', 'aupro'))):
        for name in names:
            low, high = read[part][f'{name}_95']
            assert 0.0 <= low <= high <= 1.0
            assert 0.0 <= read[part][name] <= 1.0
    assert read['image']['ood_images'] == read['pixel']['ood_images'] == 10
    assert [row['name'] for row in read['pixel']['rows']] == ['faint', 'red']
    assert [row['aupro_95'] for row in read['pixel']['rows']] == [None, None]  # of 5 pictures
    assert str(category) not in text


def test_text_and_markdown_have_all_tables(result: Evaluation) -> None:
    text, markdown = report.to_text(result), report.markdown(result)
    named = [line.split()[0] for line in text.splitlines() if line.startswith(('faint', 'all'))]
    assert named == ['faint', 'all'] * 3
    assert 'AUPRO up to 30% of normal pixels' in text
    tables = markdown.split('\n\n')[2:5]
    for table in tables:
        assert len({line.count('|') for line in table.splitlines()}) == 1


def test_a_bundle_without_maps_gives_image_figures_and_says_what_is_missing(
    category: Path, result: Evaluation, tmp_path: Path
) -> None:
    plain = make_tiny_bundle(tmp_path / 'plain')
    without = evaluate(plain, open_engine(plain), images=category, resamples=50)
    assert 'pixel metrics need a bundle with maps' in report.to_text(without)
    read = json.loads(report.to_json(without))
    assert 'pixel' not in read
    assert read['image'] == json.loads(report.to_json(result))['image']


def test_maps_without_masks_give_no_pixel_figures_and_say_so(
    bundle: Bundle, engine: Engine, category: Path
) -> None:
    ood = [category / 'test/red']
    without = evaluate(bundle, engine, images=category / 'test/good', ood=ood, resamples=5)
    assert 'neither masks nor boxes were given' in report.to_text(without)
    assert 'pixel' not in report.facts(without)


def test_masks_of_one_folder_may_lie_in_it_or_in_one_of_its_name(
    bundle: Bundle, engine: Engine, category: Path, result: Evaluation
) -> None:
    for masks in (category / 'ground_truth', category / 'ground_truth/red'):
        one = evaluate(
            bundle,
            engine,
            images=category / 'test/good',
            ood=[category / 'test/red'],
            masks=masks,
            resamples=50,
        )
        assert _pixels(one).rows[0] == _pixels(result).rows[1]
        assert _pixels(one).overall.metrics == _pixels(one).rows[0].metrics


def test_folders_beside_a_category_are_scored_beside_its_kinds(
    bundle: Bundle, engine: Engine, category: Path, result: Evaluation, tmp_path: Path
) -> None:
    _write(tmp_path / 'fog/000.png', np.full((60, 90, 3), 220, np.uint8))
    both = evaluate(bundle, engine, images=category, ood=[tmp_path / 'fog'], resamples=50)
    assert both.id_folder.path == category / 'test/good'
    assert [(row.name, row.count) for row in both.rows] == [('faint', 5), ('red', 5), ('fog', 1)]
    assert _pixels(both).rows == _pixels(result).rows  # fog has no masks
    text = report.to_text(both)
    assert 'pixel metrics leave out fog: neither masks nor boxes' in text
    assert len([line for line in text.splitlines() if line.startswith('fog ')]) == 2


def test_good_pictures_of_a_category_without_kinds_take_given_folders(
    bundle: Bundle, engine: Engine, category: Path, tmp_path: Path
) -> None:
    shutil.copytree(category / 'test/good', tmp_path / 'test/good')
    red = evaluate(bundle, engine, images=tmp_path, ood=[category / 'test/red'], resamples=1)
    assert [(row.name, row.count) for row in red.rows] == [('red', 5)]


def test_a_kind_of_a_category_is_not_taken_twice(
    bundle: Bundle, engine: Engine, category: Path
) -> None:
    with pytest.raises(ParameterError, match=r'got one twice .* leave it out: .*red$'):
        evaluate(bundle, engine, images=category, ood=[category / 'test/red'])


def _boxed(root: Path, *, text: Callable[[Place], str]) -> Path:
    rng = np.random.default_rng(31)
    for k in range(5):
        _write(root / f'good/{k}.png', _noise(rng))
        pixels = _noise(rng)
        y, x = int(rng.integers(4, 36)), int(rng.integers(4, 66))
        pixels[y : y + 16, x : x + 20] = (0, 0, 255)
        _write(root / f'bad/{k}_test.png', pixels)
        (root / 'boxes').mkdir(exist_ok=True)
        (root / f'boxes/{k}.txt').write_text(text((x, y, x + 20, y + 16)))
    return root


def test_boxes_are_found_by_the_name_and_hit(
    bundle: Bundle, engine: Engine, tmp_path: Path
) -> None:
    data = _boxed(tmp_path, text=lambda at: '# spot\n' + ' '.join(map(str, at)) + ' 3\n')
    result = evaluate(
        bundle,
        engine,
        images=data / 'good',
        ood=[data / 'bad'],
        boxes=data / 'boxes',
        resamples=20,
    )
    pixels = _pixels(result)
    assert pixels.truth == 'boxes'
    assert pixels.overall.boxes is not None
    assert (pixels.overall.boxes.count, pixels.overall.boxes.rate) == (5, 1.0)
    assert pixels.overall.boxes.chance < 0.3
    found = report.facts(result)['pixel']
    assert found['boxes']['rate'] == 1.0
    assert found['normal_share_over'] == NORMAL_SHARE
    assert '100.0% of 5' in report.to_text(result)


def test_box_hits_are_told_for_the_robots_threshold_beside_the_pictures_own(
    bundle: Bundle, engine: Engine, tmp_path: Path
) -> None:
    data = _boxed(tmp_path, text=lambda at: ' '.join(map(str, at)))
    faint = cv2.imread(str(data / 'bad/0_test.png'))
    left, top, right, bottom = map(int, (data / 'boxes/0.txt').read_text().split())
    faint[top:bottom, left:right] = (143, 121, 121)
    _write(data / 'bad/0_test.png', faint)
    result = evaluate(
        bundle,
        engine,
        images=data / 'good',
        ood=[data / 'bad'],
        boxes=data / 'boxes',
        resamples=1,
    )
    monitor = Monitor.from_bundle(bundle)
    shown = []
    for k in range(5):
        seen = monitor.observe_image(read_image(data / f'bad/{k}_test.png'), stamp=0.0)
        assert seen.heatmap is not None
        shown.append((seen.heatmap, read_boxes(data / f'boxes/{k}.txt', 60, 90)))
    assert 0.5 < shown[0][0].max() < 1.0
    expected = box_hits(shown, 1.0)
    assert expected.rate == 0.8
    found = report.facts(result)
    for boxes in (found['map']['boxes'], found['map']['rows'][0]['boxes']):
        assert boxes == {'count': 5, 'rate': 0.8, 'chance': pytest.approx(expected.chance)}
    assert found['pixel']['threshold'] != found['map']['threshold']
    text = report.to_text(result)
    assert 'box hits at 1%' in text
    assert '80.0% of 5' in text


def test_a_box_outside_its_picture_is_refused_with_line_and_file(
    bundle: Bundle, engine: Engine, tmp_path: Path
) -> None:
    data = _boxed(tmp_path, text=lambda at: f'\n0 0 {at[2] + 90} 9\n')
    with pytest.raises(ParameterError, match=r'not inside its picture: .*in line 2: .*0\.txt$'):
        evaluate(bundle, engine, images=data / 'good', ood=[data / 'bad'], boxes=data / 'boxes')


@pytest.mark.parametrize('line', ['1 2 3', 'a b c d', '0.5 0.5 0.1 0.1', '1;2;3;4', '1 2 3 nan'])
def test_a_line_that_is_no_box_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / 'a.txt').write_text(f'1 2 3 4\n{line}\n')
    with pytest.raises(ParameterError, match=r'whole pixels, got .* in line 2: .*a\.txt$'):
        read_boxes(tmp_path / 'a.txt', 20, 20)


def test_boxes_may_be_parted_by_commas_and_have_a_kind(tmp_path: Path) -> None:
    (tmp_path / 'a.txt').write_text('1,2,3,4, pin hole\n\n5 6 7 8  # none\n')
    assert read_boxes(tmp_path / 'a.txt', 20, 20) == (Box(1, 2, 3, 4, 'pin hole'), Box(5, 6, 7, 8))


@pytest.mark.parametrize('shape', [(4, 6), (4, 6, 3), (4, 6, 4)])
def test_a_mask_is_what_is_not_black(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.zeros(shape, np.uint8)
    if len(shape) == 3 and shape[2] == 4:
        pixels[..., 3] = 255  # opaque, which says nothing
    pixels[1, 2, ...] = 1
    mask = read_mask(_write(tmp_path / 'm.png', pixels), 4, 6)
    assert np.argwhere(mask).tolist() == [[1, 2]]


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    path = _write(tmp_path / 'm.png', np.zeros((4, 6), np.uint8))
    with pytest.raises(ParameterError, match=r'expected 4x6 as the picture has, got 6x4.*m\.png$'):
        read_mask(path, 6, 4)


@pytest.mark.parametrize('content', ['jpeg', 'cut', 'empty', 'missing'])
def test_a_mask_that_is_no_whole_png_is_refused(tmp_path: Path, content: str) -> None:
    path = _write(tmp_path / 'm.png', np.zeros((40, 60), np.uint8))
    whole = path.read_bytes()
    if content == 'jpeg':
        path.write_bytes(_write(tmp_path / 'm.jpg', np.zeros((40, 60), np.uint8)).read_bytes())
    elif content == 'missing':
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2 if content == 'cut' else 0])
    with pytest.raises(ParameterError, match=r'^mask (is no whole PNG|cannot be read).*m\.png$'):
        read_mask(path, 40, 60)


def test_missing_masks_are_refused_with_the_names_looked_for(
    bundle: Bundle, engine: Engine, category: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(category, tmp_path / 'copy')
    (copy / 'ground_truth/red/002_mask.png').unlink()
    message = r"1 of 5 pictures have no mask .* '002\.png' \(looked for 002_mask\.png, 002\.png\)"
    with pytest.raises(ParameterError, match=message):
        evaluate(bundle, engine, images=copy)


def test_masks_that_are_all_empty_are_refused(
    bundle: Bundle, engine: Engine, category: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(category, tmp_path / 'copy')
    for k in range(5):
        _write(copy / f'ground_truth/red/{k:03}_mask.png', np.zeros((60, 90), np.uint8))
    with pytest.raises(ParameterError, match=r'all masks of a folder .* are empty: .*red$'):
        evaluate(bundle, engine, images=copy, resamples=1)


def test_a_category_without_masks_is_scored_as_pictures(
    bundle: Bundle, engine: Engine, category: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(category, tmp_path / 'copy')
    shutil.rmtree(copy / 'ground_truth')
    assert evaluate(bundle, engine, images=copy, resamples=1).overall.count == 10


@pytest.mark.parametrize(
    ('fault', 'message'),
    [
        ('several', r'one category at a time, got a folder of 1; .*tile$'),
        ('good only', r"no folder of anomalous pictures beside 'good'"),
        ('no masks', r'masks or boxes not found: expected a folder, got nothing there'),
        ('both', r'masks or boxes, got both'),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    bundle: Bundle, engine: Engine, category: Path, tmp_path: Path, fault: str, message: str
) -> None:
    images, masks, boxes = category, None, None
    if fault == 'several':
        images = category.parent
    elif fault == 'good only':
        images = tmp_path
        shutil.copytree(category / 'test/good', tmp_path / 'test/good')
    elif fault == 'no masks':
        masks = tmp_path / 'none'
    else:
        masks = boxes = tmp_path
    with pytest.raises(ParameterError, match=message):
        evaluate(bundle, engine, images=images, masks=masks, boxes=boxes)


def test_one_picture_a_class_is_evaluated(
    bundle: Bundle, engine: Engine, category: Path, tmp_path: Path
) -> None:
    for name in ('test/good/000.png', 'test/red/000.png', 'ground_truth/red/000_mask.png'):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(category / name, tmp_path / name)
    one = evaluate(bundle, engine, images=tmp_path, resamples=5)
    assert one.overall.auroc == 1.0
    assert _pixels(one).overall.metrics.auroc > 0.9


def test_constant_pictures_give_figures_of_chance(
    bundle: Bundle, engine: Engine, tmp_path: Path
) -> None:
    flat, mask = np.full((32, 48, 3), 128, np.uint8), np.zeros((32, 48), np.uint8)
    mask[:8, :8] = 255
    for name in ('test/good/0.png', 'test/odd/0.png'):
        _write(tmp_path / name, flat)
    _write(tmp_path / 'ground_truth/odd/0_mask.png', mask)
    pixels = _pixels(evaluate(bundle, engine, images=tmp_path, resamples=5))
    assert pixels.overall.metrics.auroc == 0.5
    assert pixels.overall.intervals is None


def test_the_worst_pictures_are_the_highest_good_and_the_lowest_bad(result: Evaluation) -> None:
    false_alarms, misses = worst(result, 3)
    assert [pick.raw_score for pick in false_alarms] == sorted(result.id_folder.raw_score)[:-4:-1]
    lowest = np.sort(np.concatenate([folder.raw_score for folder in result.ood_folders]))[:3]
    assert [pick.raw_score for pick in misses] == lowest.tolist()


def test_the_sheet_is_the_same_twice(result: Evaluation, tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    save_sheet(tmp_path / 'a.png', result)
    save_sheet(tmp_path / 'b.png', result)
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()
    drawn = cv2.imread(str(tmp_path / 'a.png'))
    assert drawn.shape[1] == 1296
    assert drawn.shape[0] > 1000


def _run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers())
    args = parser.parse_args(['evaluate', *argv])
    return int(args.run(args))


def test_the_verb_takes_a_category_alone_and_draws_the_sheet(
    bundle: Bundle, category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('matplotlib')
    files = ['--json', str(tmp_path / 'e.json'), '--sheet', str(tmp_path / 'sheet.png')]
    assert _run(str(bundle.path), '--images', str(category), *files) == 0
    assert 'AUPRO' in capsys.readouterr().out
    assert json.loads((tmp_path / 'e.json').read_text())['pixel']['aupro'] > 0.5
    assert (tmp_path / 'sheet.png').stat().st_size > 10_000


def test_a_sheet_of_an_unknown_kind_is_refused_before_anything_is_scored(
    category: Path, tmp_path: Path
) -> None:
    with pytest.raises(OodMonitorError, match=r"expected \.png or .*, got '\.gif'"):
        _run(str(tmp_path / 'none'), '--images', str(category), '--sheet', 'sheet.gif')


@pytest.mark.skipif(not SHARED.is_dir(), reason='no folder of real images beside the checkout')
def test_every_box_file_of_real_boards_is_read() -> None:
    for group in ('00041', '13000', '20085'):
        folder = SHARED / 'data/circuit_boards' / group
        pictures = sorted(path.name for path in folder.glob('*_test.jpg'))
        boards = BoxFolder(folder, pictures)
        assert len(pictures) == 120
        assert all(boards.boxes(picture, 640, 640) for picture in pictures)
