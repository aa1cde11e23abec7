"""The conclusions of a report: sentences on all lines together, and a word on each."""

from collections.abc import Sequence

from dmp_lightning.intervals import direction
from dmp_lightning.reports.formatting import count
from dmp_lightning.reports.lines import Base, Line

WORDS = {-1: "better", 0: "open", 1: "worse"}
TOO_FEW = "too few images"


def headline(bases: Sequence[Base], lines: Sequence[Line]) -> list[str]:
    """Sentences that sum all lines up, each with its numbers."""
    few = [line for line in lines if line.base.too_few]
    known = [line for line in lines if line.change is not None and not line.base.too_few]
    marked = (
        f"† {count(len(few), 'line')} with no more samples or reference images than features: nothing is concluded."
    )
    if not known and few:
        return [marked]
    if not known:
        return [f"{count(len(bases), 'base')} measured, and nothing patched that could be compared with them."]
    found = [direction(line.change) for line in known if line.change]
    better, worse, open_ = (found.count(value) for value in (-1, 1, 0))
    told = f"{count(len(known), 'trained line')} on {count(len({line.base.id for line in known}), 'base')}"
    sentences = [
        f"Of {told}, the change of the Fréchet distance from the frozen control lies below zero with its whole 95% "
        f"interval over seeds and samples for {better} (better), above for {worse} (worse), and for {open_} the "
        "interval holds zero."
    ]
    losses = [direction(line.loss) for line in known if line.loss]
    both = [line for line in known if _directions(line) == (-1, -1)]
    against = [line for line in known if _directions(line) in ((-1, 1), (1, -1))]
    if losses:
        contradict = f", and for {len(against)} the two measures contradict each other" if against else ""
        sentences.append(
            f"The paired validation loss lies below the control's in the same way for {losses.count(-1)}, above it for "
            f"{losses.count(1)}; both measures are better for {len(both)}{contradict}."
        )
    alone = sum(len(line.runs) == 1 for line in known)
    if few:
        sentences.append(marked)
    if alone:
        sentences.append(
            f"{count(alone, 'line')} {'has' if alone == 1 else 'have'} one seed only: the interval there speaks of the "
            "samples and images of that run alone, not of another training."
        )
    if len(known) > 1:
        sentences.append(
            f"Nothing is corrected for {len(known)} comparisons: of as many lines without any effect, "
            f"{len(known) / 20:.1f} would be expected to have an interval that leaves out zero, and as all share "
            "samples, images and base, they err together."
        )
    return sentences


def word(line: Line) -> str:
    """A word or two for the interval of its distance's change."""
    if line.base.too_few:
        return TOO_FEW
    return "" if line.change is None else WORDS[direction(line.change)]


def _directions(line: Line) -> tuple[int, ...]:
    return tuple(direction(found) if found else 0 for found in (line.change, line.loss))
