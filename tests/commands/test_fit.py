"""Whether data and base go together: which classes the base takes the data's for."""

import logging
from typing import Any

import pytest

from dmp_lightning.backbones import DiT
from dmp_lightning.commands.build import check_fit
from dmp_lightning.data.synthetic import SyntheticLatents


def base(num_classes: int) -> DiT:
    sizes = {"input_size": 4, "in_channels": 4, "patch_size": 2, "width": 8, "depth": 1, "heads": 1}
    return DiT(**sizes, num_classes=num_classes, class_dropout_prob=0.1)


def fit(count: int, names: tuple[str, ...] | None, known: int) -> None:
    source = SyntheticLatents([4, 4, 4], 2, count)
    source.classes = names
    check_fit(source, base(known))


@pytest.mark.parametrize(
    ("count", "names", "known", "said"),
    [
        (3, ("a", "b", "c"), 3, ""),
        (10, None, 10, ""),
        (1, None, 1, ""),
        (3, ("a", "b", "c"), 1, "The data have 3 classes, but the base has one: labels are not used."),
        (7, None, 1000, "The data's labels 0 to 6 are used as the first of the base's 1,000 classes."),
    ],
)
def test_what_fits_in_a_way_is_said(count: int, names: Any, known: int, said: str, caplog: Any) -> None:
    with caplog.at_level(logging.INFO, "dmp_lightning"):
        fit(count, names, known)
    assert [record.getMessage() for record in caplog.records] == ([said] if said else [])


@pytest.mark.parametrize(
    ("count", "names", "known", "sentence"),
    [
        (
            3,
            ("a", "b", "c"),
            1000,
            "have 3 classes, a to c, but the base has 1000: set backbone.model.num_classes=3, and",
        ),
        (1, ("a",), 1000, "have one class, a, but the base has 1000"),
        (
            1,
            None,
            1000,
            "have one class, but the base has 1000: set backbone.model.num_classes=1, and backbone.labels=reinit",
        ),
        (4, None, 3, "have 4 classes, but the base has 3: set backbone.model.num_classes"),
        (4, ("a", "b", "c", "d"), 3, "have 4 classes, but the base has 3: set backbone.model.num_classes"),
    ],
)
def test_classes_that_would_be_taken_for_others_are_refused(count: int, names: Any, known: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fit(count, names, known)
