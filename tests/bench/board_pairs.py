"""
Whole circuit boards (DeepPCB's layout) with one defect each, and the same boards without any.

Usage::

    python -m tests.bench.board_pairs --groups BOARDS/00041 BOARDS/13000 --out FOLDER

Pictures with defects were saved differently from templates, and have several defects. So both
sides are made from templates here, black and white alone: ``defect/`` gets one with the pixels of
one box of its partner with a defect, ``clean/`` the same one with those of an equally large box
elsewhere, which holds none. Whatever a paste leaves behind is in both. ``fit/`` gets the templates
in between, none of which is in the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ros_ood_monitor.images import read_image
from tests.bench.board_crops import Box, Image, overlap, TRIES, write

MARGIN = 8  # px between a clean box and a defect


def black_and_white(file: Path) -> Image:
    """Return a picture of two grey levels."""
    return np.where(read_image(file) > 127, 255, 0).astype(np.uint8)


def pasted(image: Image, other: Image, box: Box) -> Image:
    """Return a picture with the pixels of another one inside of a box."""
    left, top, right, bottom = box
    made = image.copy()
    made[top:bottom, left:right] = other[top:bottom, left:right]
    return made


def clean_box(box: Box, defects: list[Box], size: tuple[int, int], seed: int) -> Box | None:
    """Return an equally large box apart from all defects, where one is found."""
    rng = np.random.default_rng(seed)
    width, height = box[2] - box[0], box[3] - box[1]
    for _ in range(TRIES):
        left, top = int(rng.integers(size[0] - width)), int(rng.integers(size[1] - height))
        near = left - MARGIN, top - MARGIN, left + width + MARGIN, top + height + MARGIN
        if not any(overlap(near, defect) for defect in defects):
            return left, top, left + width, top + height
    return None


def make(groups: list[Path], out: Path) -> None:
    """Write all pictures."""
    for group in groups:
        for k, file in enumerate(sorted(group.glob('*_temp.jpg'))):
            template = black_and_white(file)
            name = f'{group.name}/{file.stem}.png'
            if k % 2 == 0:
                write(out / 'fit' / name, template)
                continue
            other = black_and_white(file.with_name(file.name.replace('_temp', '_test')))
            lines = file.with_name(file.name.replace('_temp.jpg', '.txt')).read_text().split('\n')
            boxes: list[Box] = []
            for line in filter(str.strip, lines):
                left, top, right, bottom, _ = map(int, line.split())
                boxes.append((left, top, right, bottom))
            if not boxes:
                continue
            defect = boxes[k % len(boxes)]
            height, width = template.shape[:2]
            clean = clean_box(defect, boxes, (width, height), k)
            if clean is not None:
                write(out / 'defect' / name, pasted(template, other, defect))
                write(out / 'clean' / name, pasted(template, other, clean))


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--groups', type=Path, nargs='+', required=True)
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    make(args.groups, args.out)


if __name__ == '__main__':
    main()
