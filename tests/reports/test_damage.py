"""Records of any content: a report names each that is damaged, leaves it out, and tells the others."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dmp_lightning.reports.report import build_report
from dmp_lightning.reports.written import texts
from dmp_lightning.runs.records import read_folder
from tests.reports.made import write

COMMITTED = Path(__file__).parents[2] / "experiments/gate_type/results/digits/linear-1.json"
HOSTILE = "</script><img src=x onerror=a()>|`$x$ {{y}} [l](j:a) \u202e\x1b[31m\n=1+1 \\ *b* _c_ 😀" + "long" * 100
VALUES: tuple[Any, ...] = (
    None,
    [],
    {},
    [[]],
    {"a": [None]},
    "",
    "3",
    HOSTILE,
    True,
    -1,
    0,
    1e308,
    -1e-320,
    10**400,
    1e999,
    float("nan"),
    [1, "a", None],
    {"mean": 1.0, "low": None, "high": "b", "more": 0},
    "deep",  # stands for containers within containers
)


def fields(node: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of each value, the whole first; of a list's items the first two."""
    yield where
    if isinstance(node, dict):
        for key, value in node.items():
            yield from fields(value, (*where, key))
    elif isinstance(node, list):
        for index, value in enumerate(node[:2]):
            yield from fields(value, (*where, index))


def mutated(content: dict[str, Any], where: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(content)
    if not where:
        return value
    *above, last = where
    inner = changed
    for part in above:
        inner = inner[part]
    inner[last] = value
    return changed


def text_of(content: Any, deep: int = 2000) -> str:
    return json.dumps(content).replace('"deep"', "[" * deep + "]" * deep)


def check_named_or_told(folder: Path, bad: Path) -> None:
    """Make sure that a report is made, and that it has the good record, and the bad one or a warning that names it."""
    found = read_folder(folder)
    report = build_report(found, "made")
    made = dict(texts(report))
    assert str(folder / "good.json") in made["report.csv"]
    told = str(bad) in made["report.csv"] or any(run.path == bad for run in report.evaluations)
    assert told or any(str(bad) in warning for warning in report.warnings)
    assert "\x1b" not in "".join(made.values())


def content() -> dict[str, Any]:
    """A committed record, with the groups that those of later versions hold."""
    found = json.loads(COMMITTED.read_text())
    del found["checksum"]  # it would tell of each change
    for change in (found["metrics"]["final"][name] for name in ("frechet_digits_classifier_change", "loss_difference")):
        change["groups"] = [change["mean"] + 1e-6 * group for group in range(20)]
    return found


def cases(every: int) -> list[tuple[tuple[Any, ...], Any]]:
    found = [(where, value) for where in fields(content()) for value in VALUES]
    return found[::every]


def check_mutations(folder: Path, every: int) -> None:
    good = content()
    write(folder / "good.json", good)
    second = mutated(mutated(good, ("seeds", "training"), 2), ("config", "seed"), 2)
    bad = folder / "bad" / "results.json"
    bad.parent.mkdir()
    raised = []
    for where, value in cases(every):
        bad.write_text(text_of(mutated(second, where, value)))
        try:
            check_named_or_told(folder, bad)
        except Exception as error:
            raised.append(f"{'.'.join(map(str, where))} = {str(value)[:40]}: {type(error).__name__} {str(error)[:200]}")
    assert raised == []


def test_a_record_with_any_field_of_another_kind_spoils_no_report(tmp_path: Path) -> None:
    check_mutations(tmp_path, every=97)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # 4,104 reports
def test_all_fields_with_all_values(tmp_path: Path) -> None:
    check_mutations(tmp_path, every=1)
