"""
Cut circuit boards (DeepPCB's layout) into small pictures: a narrow set with small anomalies.

Usage::

    python -m tests.bench.board_crops --groups BOARDS/00041 BOARDS/13000 --out FOLDER

``fit/`` gets crops of the first three quarters of the defect-free templates. ``clean/`` and
``defect/`` get one crop each of every second picture with defects: one without any, and one around
one of them. Both come from the same pictures, because templates and pictures with defects were
saved differently, so that telling *these* apart would prove nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.images import read_image

Image: TypeAlias = npt.NDArray[np.uint8]
Box: TypeAlias = tuple[int, int, int, int]

SIDE = 128
CROPS = 3  # of each template
TRIES = 200


def around(image: Image, column: int, row: int) -> tuple[Image, Box]:
    """Return the crop whose centre is nearest to a place, and its box."""
    left = int(np.clip(column - SIDE // 2, 0, image.shape[1] - SIDE))
    top = int(np.clip(row - SIDE // 2, 0, image.shape[0] - SIDE))
    box = left, top, left + SIDE, top + SIDE
    return image[top : box[3], left : box[2]], box


def overlap(a: Box, b: Box) -> bool:
    """Tell whether two boxes share a pixel."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def write(path: Path, image: Image) -> None:
    """Write a picture without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


def anywhere(image: Image, rng: np.random.Generator) -> tuple[Image, Box]:
    """Return a crop from a random place."""
    return around(image, int(rng.integers(image.shape[1])), int(rng.integers(image.shape[0])))


def cut(groups: list[Path], out: Path) -> None:
    """Write all crops."""
    rng = np.random.default_rng(0)
    for group in groups:
        templates = sorted(group.glob('*_temp.jpg'))
        for file in templates[: len(templates) * 3 // 4]:
            image = read_image(file)
            for k in range(CROPS):
                write(out / 'fit' / group.name / f'{file.stem}_{k}.png', anywhere(image, rng)[0])
        for file in sorted(group.glob('*_test.jpg'))[::2]:
            image = read_image(file)
            lines = file.with_name(file.name.replace('_test.jpg', '.txt')).read_text().split('\n')
            boxes: list[Box] = []
            for line in filter(str.strip, lines):
                left, top, right, bottom, _ = map(int, line.split())
                boxes.append((left, top, right, bottom))
            clean = (anywhere(image, rng) for _ in range(TRIES))
            free = next((c for c, at in clean if not any(overlap(at, b) for b in boxes)), None)
            if not boxes or free is None:
                continue
            left, top, right, bottom = boxes[int(rng.integers(len(boxes)))]
            name = f'{group.name}_{file.stem}.png'
            write(out / 'clean' / name, free)
            write(
                out / 'defect' / name, around(image, (left + right) // 2, (top + bottom) // 2)[0]
            )


def main() -> None:
    """Cut what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--groups', type=Path, nargs='+', required=True)
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    cut(args.groups, args.out)


if __name__ == '__main__':
    main()
