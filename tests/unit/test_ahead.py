"""Work ahead: what comes, and in which order, does not depend on the threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ros_ood_monitor.ahead import map_ahead


def _ten_and_an_error() -> Iterator[int]:
    yield from range(10)
    msg = 'the eleventh is damaged'
    raise ValueError(msg)


@pytest.mark.parametrize('workers', [0, 1, 2, 8])
def test_an_error_of_the_source_comes_after_all_that_came_before_it(workers: int) -> None:
    squares = map_ahead(lambda k: k * k, _ten_and_an_error(), workers=workers)
    assert [next(squares) for _ in range(10)] == [k * k for k in range(10)]
    with pytest.raises(ValueError, match='the eleventh is damaged'):
        next(squares)


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_an_error_of_the_work_comes_in_its_place(workers: int) -> None:
    shares = map_ahead(lambda k: 1 / k, (2, 1, 0, 4), workers=workers)
    assert [next(shares), next(shares)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(shares)
