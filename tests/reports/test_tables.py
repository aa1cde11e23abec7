import io
from dataclasses import replace

import pytest
from rich.console import Console

from dmp_lightning.intervals import Interval
from dmp_lightning.reports.tables import Row, markdown_table, print_metrics, print_table, verdict

BASE = Row("pre-trained", "this run", {"classifier": 0.62711}, None, 0, 1000, None, None)
PATCHED = Row("+ DMP", "this run", {"classifier": 0.25}, Interval(-0.5, -0.75, -0.25), 15, 1000, 75.4, 2048.0)
TUNED = Row(
    "+ fine-tuning", "committed: a/b.json", {"classifier": 1.0}, Interval(1.0, 0.5, 1.5), 1000, 1000, 60.0, 64.0
)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_markdown_holds_one_line_for_each_run() -> None:
    header, _, base, patched, tuned = cells(markdown_table([BASE, PATCHED, TUNED]))
    assert header[1] == "Fréchet distance (classifier) ↓"
    assert base == ["pre-trained", "0.6271", "–", "0 (0.00%)", "–", "–", "this run"]
    assert patched == ["+ DMP", "0.25", "-0.5 [-0.75, -0.25]", "15 (1.50%)", "75", "2,048", "this run"]
    assert tuned[-1] == "committed: a/b.json"


def test_seeds_share_a_line_with_their_deviation_and_the_interval_over_seeds_and_images() -> None:
    values = [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]
    seeds = [replace(TUNED, frechet={"classifier": f}, difference=Interval(d, d - 3, d + 3)) for f, d in values]
    (line,) = cells(markdown_table(seeds))[2:]
    assert line[:3] == ["+ fine-tuning (3 seeds)", "2 ± 1", "+2 [-1.89, +5.89]"]  # root of 4.303² / 3 and 3²


def test_the_same_label_from_elsewhere_is_another_line() -> None:
    assert len(cells(markdown_table([TUNED, replace(TUNED, origin="this run")]))) == 4


def test_each_kind_of_features_has_its_column_and_what_is_missing_a_dash() -> None:
    other = replace(PATCHED, frechet={"classifier": None, "inception": 3.0})
    header, _, base, patched = cells(markdown_table([BASE, other]))
    assert header[2] == "Fréchet distance (inception) ↓"
    assert base[1:3] == ["0.6271", "–"]
    assert patched[1:3] == ["–", "3"]


def test_the_terminal_says_where_the_other_runs_are_from() -> None:
    console = Console(file=io.StringIO(), width=120)
    print_table([BASE, PATCHED, TUNED], console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "+ fine-tuning [1]" in text
    assert "[1] committed: a/b.json" in text
    assert "0.6271" in text
    assert "+ DMP [" not in text


@pytest.mark.parametrize(
    ("frechet", "loss", "answer"),
    [
        (-1, -1, "helped"),
        (-1, 0, "helped"),
        (-1, 1, "cannot tell whether it helped, the two measures disagree"),
        (0, -1, "cannot tell whether it helped, the Fréchet distance changed by less than its noise"),
        (0, 0, "cannot tell whether it helped, the Fréchet distance changed by less than its noise"),
        (0, 1, "did not help"),
        (1, -1, "cannot tell whether it helped, the two measures disagree"),
        (1, 0, "did not help"),
        (1, 1, "did not help"),
    ],
)
def test_the_verdict_respects_the_noise(frechet: int, loss: int, answer: str) -> None:
    """-1, 0 and 1 stand for a fall, a change within its interval, and a rise."""
    changes = {-1: Interval(-0.2, -0.3, -0.1), 0: Interval(-0.2, -0.5, 0.1), 1: Interval(0.2, 0.1, 0.3)}
    text = verdict("DMP", "classifier", changes[frechet], changes[loss], 4000)
    assert text.startswith(f"DMP: {answer}. Fréchet distance (classifier) ")
    for change in (changes[frechet], changes[loss]):
        assert f"{change.mean:+g} [{change.low:+g}, {change.high:+g}]" in text
    assert text.endswith("of this run, its 4,000 samples and its held-out images, not of another training seed.")


def test_of_too_few_images_there_is_no_verdict_and_a_mark() -> None:
    fall = Interval(-0.2, -0.3, -0.1)
    text = verdict("DMP", "pixels", fall, fall, 60, too_few=True)
    assert text.startswith(
        "DMP: cannot tell whether it helped, there are no more samples or reference images than features. "
    )
    few = replace(PATCHED, too_few=True)
    table = markdown_table([BASE, few])
    assert "| 0.25 † |" in table
    assert table.endswith(
        "\n\n† No more samples or reference images than features: nothing can be concluded from this distance.\n"
    )
    assert "†" not in markdown_table([BASE, PATCHED])
    console = Console(file=io.StringIO(), width=120)
    print_table([few], console)
    assert isinstance(console.file, io.StringIO)
    assert "† No more samples" in console.file.getvalue()


def test_metrics_of_too_few_images_are_marked() -> None:
    console = Console(file=io.StringIO(), width=120)
    print_metrics({"base": {"fid": 1.0, "kid": 2.0}}, ["fid"], console)
    assert isinstance(console.file, io.StringIO)
    assert "fid †" in console.file.getvalue()
    assert "kid †" not in console.file.getvalue()
