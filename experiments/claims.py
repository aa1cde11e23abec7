"""The claims: each is a list of small sweeps, one for each value, which `experiments/run.py` runs over seeds.

Values are those of conf/sweep where it has them; here are the ones that depend on the size of these models.

`search` comes first. It tries as many rates for each method as for any other, on each base and schedule, and for each
gate, with one seed each, and the paired validation loss decides. It is made on the digits; Fashion-MNIST takes the same
rates, so that there nothing is tuned to the data.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

HERE = Path(__file__).parent
SEARCHED = HERE / "search" / "results" / "digits.json"
GROUPS = {"dmp": "prompts", "prompt_tuning": "prompts", "lora": "lora", "adaln": "adaln", "full_finetune": "backbone"}
RATES = {
    "prompts": "1e-3,3e-3,1e-2,3e-2,1e-1",
    "lora": "3e-4,1e-3,3e-3,1e-2,3e-2",
    "adaln": "3e-4,1e-3,3e-3,1e-2,3e-2",
    "backbone": "2e-4,6e-4,2e-3,6e-3,2e-2",
}
GATE_RATES = "1e-2,3e-2,1e-1,3e-1,1"  # weights that sum to 1 want higher ones
BASES = {
    "digits": {
        "raw": "${asset:digits_dit.safetensors}",
        "ema": "${asset:digits_dit_ema.safetensors}",
        "annealed": "experiments/digits_pretrain/annealed.safetensors",
    },
    "fashion_mnist": {
        "raw": "experiments/fashion_mnist/base.safetensors",
        "ema": "experiments/fashion_mnist/base_ema.safetensors",
        "annealed": "experiments/fashion_mnist/base_annealed.safetensors",
    },
}
EXPERIMENT = {"digits": [], "fashion_mnist": ["+experiment=fashion_mnist_latents"]}
SCHEDULES = {"annealed": [], "constant": ["recipe.lr_scheduler=null"]}
AVERAGES = {"last": [], "ema": ["recipe.ema_decay=0.995"]}  # over a fifth of the steps, as DiT's 0.9999 of 50,000
VARIANTS = {
    "sum": ["gate=linear"],
    "sum, rates times P": ["gate=linear", "recipe.rates_times_prompt_count=[prompts]"],
    "sum, log SNR": ["gate=linear", "method.condition=log_snr"],
    "mean": [],
    "mean, log SNR": ["method.condition=log_snr"],
}
COUNTS = {"digits": ("1", "4", "16", "32", "64"), "fashion_mnist": ("1", "49", "98", "196")}
DEPTHS = ("all", "first:1", "first:2", "last:1", "last:2", "every:2")
POSITIONS = (("add", "null"), ("prepend", "1"), ("prepend", "4"), ("prepend", "null"))
LENGTHS = (250, 1_000, 4_000)


@dataclass(frozen=True)
class Cell:
    """A sweep: where it belongs below its claim, where it stands on the axes, its overrides, and what turns in it."""

    name: str
    axes: dict[str, str]
    overrides: list[str]
    turning: str = "seed"


def cell(name: str, axes: dict[str, str], *overrides: list[str], turning: str = "seed") -> Cell:
    return Cell(name, axes, [text for part in overrides for text in part], turning)


def turned(sweep: str, key: str) -> list[str]:
    """The values that conf/sweep has for a key, as they are typed."""
    config = OmegaConf.load(HERE.parent / "conf" / "sweep" / f"{sweep}.yaml")
    override = OverridesParser.create().parse_override(f"{key}={config.hydra.sweeper.params[key]}")
    return list(override.sweep_string_iterator())


def rate(method: str, value: float | str) -> list[str]:
    return [f"method={method}", f"recipe.learning_rates.{GROUPS[method]}={value}"]


def weights(data: str, base: str) -> list[str]:
    return [f"backbone.weights={BASES[data][base]}"]


def search(data: str) -> Iterator[Cell]:
    """One seed and few samples: the loss decides. On the digits alone."""
    small = ["evaluation.samples=1000"]
    for base, schedule, method in product(BASES[data], SCHEDULES, GROUPS):
        given = weights(data, base) + SCHEDULES[schedule] + rate(method, RATES[GROUPS[method]])
        turning = f"recipe.learning_rates.{GROUPS[method]}"
        yield cell(f"{base}/{schedule}/{method}", {}, small, given, turning=turning)
    for gate in turned("gate_type", "gate"):
        given = [f"gate={gate}", *rate("dmp", GATE_RATES)]
        yield cell(f"gates/{gate}", {}, small, given, turning="recipe.learning_rates.prompts")


def searched() -> dict[str, dict[str, float]]:
    """The loss at each rate, of each cell that `search` has found."""
    return json.loads(SEARCHED.read_text(encoding="utf-8")) if SEARCHED.exists() else {}


def best(name: str) -> float:
    """The rate of the lowest loss.

    Raises:
        ValueError: it has not been searched.
    """
    losses = searched().get(name)
    if losses is None:
        raise ValueError(f"No rate has been searched for {name}: python experiments/run.py search digits")
    return float(min(losses, key=losses.__getitem__))


def main_table(data: str) -> Iterator[Cell]:
    for base, schedule, average, method in product(BASES[data], SCHEDULES, AVERAGES, GROUPS):
        axes = {"base": base, "method": method, "schedule": schedule, "average": average}
        value = best(f"{base}/{schedule}/{method}")
        given = SCHEDULES[schedule] + AVERAGES[average] + rate(method, value)
        yield cell("/".join((base, schedule, average, method)), axes, weights(data, base), given)


def equal_seconds(data: str) -> Iterator[Cell]:
    """As long as the mixture's thousand steps: on a machine that does nothing else, with a core for each job."""
    for base, method in product(("raw", "ema"), GROUPS):
        value = best(f"{base}/annealed/{method}")
        of = f"{HERE.name}/equal_seconds/runs/{data}/{base}/dmp/seed-1/results.json"
        budget = [] if method == "dmp" else ["budget=seconds", f"budget.of={of}"]
        yield cell(
            f"{base}/{method}", {"base": base, "method": method}, weights(data, base), rate(method, value), budget
        )


def gate_type(data: str) -> Iterator[Cell]:
    for gate in turned("gate_type", "gate"):
        yield cell(gate, {"gate": gate}, rate("dmp", best(f"gates/{gate}")), [f"gate={gate}"])


def beyond_paper(data: str) -> Iterator[Cell]:
    """At one rate for all: what is scaled is the point."""
    for variant, given in VARIANTS.items():
        yield cell(variant.replace(", ", "-").replace(" ", "_"), {"variant": variant}, given)


def prompt_count(data: str) -> Iterator[Cell]:
    for count in COUNTS[data]:
        yield cell(count, {"prompt_count": count}, [f"method.prompt_count={count}"])


def injection_depth(data: str) -> Iterator[Cell]:
    for depth in DEPTHS:
        yield cell(depth.replace(":", "_"), {"injection": depth}, [f"method.injection={depth}"])


def balance_position(data: str) -> Iterator[Cell]:
    for value in turned("balance", "method.balance"):
        name = value.strip("{}").partition(",")[0].removeprefix("importance:")
        yield cell(f"balance_{name}", {"balance": name}, [f"method.balance={value}"])
    for position, count in POSITIONS:
        given = [f"method.position={position}", f"method.prompt_count={count}"]
        shown = position if count == "null" else f"{position} {count}"
        yield cell(shown.replace(" ", "_"), {"position": shown}, given)


def condition_init(data: str) -> Iterator[Cell]:
    zero, *others = turned("init", "method.init")
    conditions = turned("condition", "method.condition")
    for condition, init in [(each, zero) for each in conditions] + [(conditions[0], each) for each in others]:
        axes = {"condition": condition, "init": init}
        yield cell(f"{condition}/{init}", axes, [f"method.condition={condition}", f"method.init={init}"])


def training_length(data: str) -> Iterator[Cell]:
    for base, method, steps in product(("raw", "ema"), GROUPS, LENGTHS):
        axes = {"base": base, "method": method, "steps": str(steps)}
        given = [*rate(method, best(f"{base}/annealed/{method}")), f"recipe.max_steps={steps}"]
        yield cell(f"{base}/{method}/{steps}", axes, weights(data, base), given)


CLAIMS: dict[str, Callable[[str], Iterator[Cell]]] = {
    claim.__name__: claim
    for claim in (
        search,
        main_table,
        equal_seconds,
        gate_type,
        beyond_paper,
        prompt_count,
        injection_depth,
        balance_position,
        condition_init,
        training_length,
    )
}
