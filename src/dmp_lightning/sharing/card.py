"""The model card of a patch: YAML for the hub's search, and Markdown for people.

All names, texts and numbers come from files that may be anybody's. Texts are shown as they are: none becomes Markdown,
HTML, YAML or code.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from dmp_lightning.intervals import Interval, as_interval
from dmp_lightning.methods.patches import PatchFile
from dmp_lightning.patching.hub import REPO
from dmp_lightning.reports.formatting import interval_text, number
from dmp_lightning.runs.record import Results
from dmp_lightning.runs.texts import as_code, cut, in_markdown, visible

PICTURES = {
    "samples.png": "Samples of the base and of the patched model, from the same noise",
    "gates.png": "How strongly the gate weighs each prompt, by timestep",
}
"""Pictures that a run may have left, and what they show."""
LARGEST = 1e30  # of a number that is shown


class Card(NamedTuple):
    """The user's own words on a patch, see `push_to_hub`; None takes the file's."""

    repo: str
    title: str | None = None
    description: str | None = None
    license: str | None = None
    base_model: str | None = None


def model_card(found: PatchFile, record: Results | None, pictures: Sequence[str], card: Card) -> str:
    """The README.md of a patch, with the results of the run that trained it, and those of `PICTURES` that are there."""
    base = found.base if isinstance(found.base, dict) else {"class": "DiT", "sha256": found.base}
    known = base.get("repo")
    repo = card.base_model or (known if isinstance(known, str) and re.fullmatch(REPO, known) else None)
    title = card.title or found.about.get("title") or found.about.get("name") or card.repo
    said = card.description or found.about.get("description") or ""
    of = f"[{repo}](https://huggingface.co/{repo})" if repo else f"a {_code(base.get('class'))}"
    size = sum(value.numel() for value in found.tensors.values())
    parts = [
        f"---\n{_front_matter(card, repo, found.about.get('license'))}---",
        f"# {_text(title)}",
        f"A patch of {size:,} parameters for {of}, by dmp-lightning: a "
        "mixture of learned prompts that is added to the tokens of the frozen base "
        f"([arXiv 2405.17825](https://arxiv.org/abs/2405.17825)). It is of no use without this base. {_text(said)}",
        f"## How to use it\n\n```python\n{_usage(base, repo, card.repo)}\n```",
        f"## Does it help?\n\n{_results(record, found.about.get('training'))}",
        *(f"![{PICTURES[name]}]({name})\n\n{PICTURES[name]}." for name in pictures),
        f"## The base\n\n{_table({name: value for name, value in base.items() if name not in ('config', 'weights')})}",
        f"## The method\n\n{_table(found.about.get('method'))}",
        f"## The training\n\n{_table(found.about.get('training'))}",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(card: Card, base: str | None, license: object) -> str:
    said = {"library_name": "dmp-lightning", "tags": ["dmp-lightning", "diffusion-model-patching"]}
    chosen = card.license or license
    front = said | ({"license": visible(cut(str(chosen)))} if chosen else {})
    front |= {"base_model": base, "base_model_relation": "adapter"} if base else {}
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _usage(base: Mapping[str, Any], repo: str | None, ours: str) -> str:
    """How to load the patch: names of repositories that are known to be such, and fixed text."""
    if "config" not in base:
        lines = ['base = dmp.load_base("WEIGHTS")  # the file of the DiT that it was trained on', "base"]
    else:
        revision = str(base.get("revision"))
        pinned = (
            f', revision="{revision}"' if re.fullmatch("[0-9a-f]{40}", revision) and repo == base.get("repo") else ""
        )
        part = "unet" if str(base.get("class")).startswith("UNet") else "transformer"
        name = repo or "FOLDER_OF_THE_BASE"
        lines = [f'pipeline = diffusers.DiffusionPipeline.from_pretrained("{name}"{pinned})', f"pipeline.{part}"]
    imports = "import dmp_lightning as dmp" if "config" not in base else "import diffusers, dmp_lightning as dmp"
    return f'{imports}\n\n{lines[0]}\npatch = dmp.load({lines[1]}, "{ours}")\npatch.strength = 1.0  # 0 is the base'


def _results(record: Results | None, training: object) -> str:
    """The measurements, each with its interval and what that is about."""
    rows = _measured(record) if record is not None else _said(training if isinstance(training, dict) else {})
    if not rows:
        return "This card came without a measurement."
    head = ["| | base | patched | change [95% interval] |", "| --- | ---: | ---: | ---: |"]
    where = "on the same held-out samples, with the same noise and timesteps"
    return "\n".join([*head, *rows]) + (
        f"\n\nThe loss of base and patched model was measured {where}; below zero, the patch is better. An interval is "
        "about the samples of this one run: it does not say how another training would turn out."
        + ("" if record is None or not record.measure.too_few else _TOO_FEW)
    )


_TOO_FEW = " The Fréchet distance is of no more images than features: nothing can be concluded from it."


def _measured(record: Results) -> list[str]:
    before, after = record.metrics["base"], record.metrics["final"]
    rows = [_row("held-out loss", before.get("loss"), after.get("loss"), as_interval(after.get("loss_difference")))]
    name = record.measure.metric
    if name is not None:
        change = as_interval(after.get(f"{name}_change"))
        rows.append(_row(f"Fréchet distance ({_code(name)})", before.get(name), after.get(name), change))
    return rows


def _said(training: Mapping[str, Any]) -> list[str]:
    """The losses that the patch file states: it may state anything."""
    change = training.get("loss_change")
    ends = [change.get(end) for end in Interval._fields] if isinstance(change, dict) else []
    numbers: list[Any] = [training.get("loss_before"), training.get("loss_after"), *ends]
    if len(numbers) != 5 or not all(_is_number(value) for value in numbers):
        return []
    return [_row("held-out loss", numbers[0], numbers[1], Interval(*numbers[2:]))]


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < LARGEST  # type: ignore[arg-type]


def _row(name: str, before: float | None, after: float | None, change: Interval | None) -> str:
    return f"| {name} | {number(before)} | {number(after)} | {interval_text(change)} |"


def _table(values: object) -> str:
    """A table of names and values, as code: a link in them is none."""
    if not isinstance(values, dict) or not values:
        return "The file does not say."
    shown = {name: value for name, value in values.items() if name != "_partial_"}
    rows = [f"| {_code(name)} | {_code(value)} |" for name, value in shown.items()]
    return "\n".join(["| | |", "| --- | --- |", *rows])


def _code(value: object) -> str:
    """A value of a file, in one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return as_code(visible(cut(text)) or " ")


def _text(value: object) -> str:
    """A text of a file, in one line, which stands for itself."""
    return in_markdown(visible(cut(str(value)))).strip()
