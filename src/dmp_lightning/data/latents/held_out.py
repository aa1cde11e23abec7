"""The latents of a store that are held out for the validation loss, if their source sets none apart."""

import numpy as np
from jaxtyping import Int

HELD_OUT = 1_000
"""At most; of smaller stores a tenth."""


def draw_held_out(labels: Int[np.ndarray, " N"]) -> Int[np.ndarray, " H"]:
    """Indices of held-out images in order, drawn at random: of each class its share, to the nearest whole numbers.

    The draw depends on the labels alone. No class loses more than half of its images, so a class of one image keeps it,
    and if all have only one, nothing is held out.
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
