"""Which latents of a store are held out for the validation loss, where their source sets none apart."""

import numpy as np
from jaxtyping import Int

HELD_OUT = 1_000
"""At most; of smaller stores a tenth."""


def draw_held_out(labels: Int[np.ndarray, " N"]) -> Int[np.ndarray, " H"]:
    """Indices of held-out images in order, drawn by chance: of each class its share, to the nearest whole numbers.

    The draw depends on the labels alone. No class loses more than half of its images, so one with a single image keeps
    it: where every class has one only, nothing is held out.
    """
    wanted = min(HELD_OUT, max(1, len(labels) // 10))
    _, of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    taken, rest = np.divmod(wanted * counts, len(labels))
    taken = np.minimum(taken, counts // 2)
    chance = np.random.default_rng(0)
    # What is left after rounding down goes to the largest remainders, equal ones in an order of chance.
    for number in np.lexsort((chance.random(len(counts)), -rest)):
        if taken.sum() < wanted and taken[number] < counts[number] // 2:
            taken[number] += 1
    drawn = np.lexsort((chance.random(len(labels)), of))  # the images class by class, in an order of chance
    place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(drawn[place < np.repeat(taken, counts)])


def last(count: int, total: int) -> Int[np.ndarray, " H"]:
    """Indices of the last `count` of `total` images."""
    return np.arange(total - count, total)
