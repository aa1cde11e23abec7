"""Measure what a step costs: `python experiments/step_cost/bench.py` (`make bench`), about 25 minutes on 2 cores.

Prints the tables, and writes `results/cpu.json`, the tables in `results/cpu.md`, and `figures/growth.png`; with
`--device cuda`, the table of DiT-L/2 and DiT-XL/2 in `results/cuda.json` and `.md`. Each part is written as soon as it
is measured; `--parts` measures some anew and keeps the others.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import alone
import bounds
import foreign
import growth
import profile_step
import samplers
import torch
from report import markdown
from steps import Case

from dmp_lightning.files import replacing
from dmp_lightning.runs.record import provenance

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--parts",
        nargs="+",
        help="of bounds, memory, foreign, foreign_memory, profile, growth, samplers; gpu, profile on CUDA",
    )
    parser.add_argument("--quick", action="store_true", help="one round of everything and few samples, to try it")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results/ and figures/")
    arguments = parser.parse_args()
    parts = on_gpu(arguments.quick) if arguments.device == "cuda" else on_cpu(arguments.quick)
    unknown = set(arguments.parts or parts) - parts.keys()
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}: choose from {', '.join(parts)}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here")
    path = arguments.out / "results" / f"{arguments.device}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = json.loads(path.read_text(encoding="utf-8")) if arguments.parts and path.exists() else {}
    for name in arguments.parts or parts:
        print(f"Measuring {name}", flush=True)
        record[name] = {"found": parts[name](), **machine(arguments.device)}
        write(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    if "growth" in record:
        growth.figure(record["growth"]["found"], arguments.out / "figures" / "growth.png")
    tables = markdown(record)
    write(path.with_suffix(".md"), tables)
    print(tables)


def on_cpu(quick: bool) -> dict[str, Callable[[], object]]:
    """What is measured on the CPU, by part."""
    rounds = 1 if quick else 15
    samples = 100 if quick else 4000
    return {
        "bounds": lambda: bounds.measure(rounds),
        "memory": alone.memory,
        "foreign": lambda: foreign.forward(2 if quick else 5),
        "foreign_memory": foreign.memory,
        "profile": lambda: profile_step.measure(1 if quick else 5),
        "growth": lambda: growth.measure(1 if quick else 3),
        "samplers": lambda: samplers.measure(samples, torch.get_num_threads()),
    }


def on_gpu(quick: bool) -> dict[str, Callable[[], object]]:
    """What is measured on a GPU, by part."""
    case = Case("dmp", size="L", batch=alone.BATCH, autocast=True)
    return {
        "gpu": lambda: alone.gpu(2 if quick else 30),
        "profile": lambda: profile_step.measure(2 if quick else 10, case, "cuda"),
    }


def machine(device: str) -> dict:
    """Where and from what a part was measured."""
    return {"threads": torch.get_num_threads(), **provenance(device)}


def write(path: Path, text: str) -> None:
    """Whole, or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
