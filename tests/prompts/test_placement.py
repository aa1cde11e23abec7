"""Prompts fewer and more than the tokens, against sums that are written out token by token."""

import pytest
import torch
from torch.testing import assert_close

from dmp_lightning.prompts.placement import counted, fitting_count, mix

WIDTH, BATCH = 3, 2


def served_by(token: int, count: int, rows: int, columns: int) -> list[int]:
    """The prompts of one token, from rows and columns."""
    if count >= rows * columns:
        return list(range(token, count, rows * columns))
    side = int((rows * columns / count) ** 0.5)
    row, column = divmod(token, columns)
    return [row // side * (columns // side) + column // side]


@pytest.mark.parametrize(
    ("grid", "count"), [((4, 4), count) for count in (1, 4, 16, 32, 48)] + [((4, 6), count) for count in (6, 24, 48)]
)
def test_each_token_gets_the_weighted_prompts_that_serve_it(grid: tuple[int, int], count: int) -> None:
    chance = torch.Generator().manual_seed(0)
    weights, prompts = torch.rand(BATCH, count, generator=chance), torch.randn(count, WIDTH, generator=chance)
    mixed = mix(weights, prompts, grid)
    assert mixed.shape == (BATCH, grid[0] * grid[1], WIDTH)
    for token in range(mixed.shape[1]):
        expected = sum(weights[:, p, None] * prompts[p] for p in served_by(token, count, *grid))
        assert_close(mixed[:, token], expected)


def test_counts_that_fit() -> None:
    assert fitting_count(None, (16, 16)) == 256
    fitting = [count for count in range(1, 1025) if fits(count, (16, 16))]
    assert fitting == [1, 4, 16, 64, 256, 512, 768, 1024]
    assert [count for count in range(1, 100) if fits(count, (7, 7))] == [1, 49, 98]
    assert [count for count in range(1, 100) if fits(count, (4, 6))] == [6, 24, 48, 72, 96]


def test_a_count_with_a_decimal_point_is_times_the_tokens() -> None:
    counts = [1.0, 0.25, 1 / 16, 2.0, 0.75, 5, 1, None]
    assert [counted(count, 256) for count in counts] == [256, 64, 16, 512, 192, 5, 1, None]
    assert counted(1 / 3, 9) == 3
    with pytest.raises(ValueError, match=r"method\.prompt_count=0\.25 of 49 tokens is not a whole number of prompts"):
        counted(0.25, 49)


def fits(count: int, grid: tuple[int, int]) -> bool:
    try:
        return fitting_count(count, grid) == count
    except ValueError:
        return False


@pytest.mark.parametrize("count", [-256, 0, 2, 9, 255, 300])
def test_a_count_that_does_not_fit_is_refused_with_those_that_do(count: int) -> None:
    message = rf"method.prompt_count={count} does not fit 256 tokens: choose 1, 4, 16, 64, 256 or a multiple of 256\."
    with pytest.raises(ValueError, match=message):
        fitting_count(count, (16, 16))
