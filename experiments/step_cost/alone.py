"""One case alone in a fresh process: its peak memory, and the seconds of its steps.

As a program it reads the case as JSON and prints what it measured as JSON.
"""

import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, replace

import torch
from steps import Case, Step
from timing import seconds
from tqdm import tqdm

MIB = 2**20
MAPPED = {"MALLOC_MMAP_THRESHOLD_": str(MIB)}  # glibc gives what is larger straight back when it is freed
L = Case("dmp", size="L", batch=1)
MEMORY: list[tuple[str, Case, dict[str, str], float | None]] = [
    ("float32", L, {}, None),
    ("float32, activation checkpointing", replace(L, checkpointing=True), {}, None),
    ("float32, activation checkpointing, malloc", replace(L, checkpointing=True), MAPPED, 2700),
    ("bf16 autocast", replace(L, autocast=True), {}, None),
    ("base in bf16", replace(L, dtype="bfloat16"), {}, None),
    ("base in bf16, activation checkpointing", replace(L, dtype="bfloat16", checkpointing=True), {}, None),
    ("base in bf16, activation checkpointing, malloc", replace(L, dtype="bfloat16", checkpointing=True), MAPPED, 1900),
]
BATCH = 32  # on a GPU
ON_GPU = [
    Case("full_finetune", batch=BATCH, autocast=True),
    Case("dmp", batch=BATCH, autocast=True),
    Case("dmp", batch=BATCH, autocast=True, compiled=True),
    Case("dmp", batch=BATCH, dtype="bfloat16"),
    Case("dmp", batch=BATCH, dtype="bfloat16", compiled=True),
    Case("dmp", batch=BATCH, dtype="bfloat16", checkpointing=True),
]


def memory() -> list[dict]:
    """Peak memory of processes on the CPU, each after two steps of DiT-L/2, batch 1, with what libraries take alone."""
    rows = []
    for name, case, environment, bound in tqdm(MEMORY, desc="Memory", leave=False):
        found = run(case, "cpu", 2, environment)
        rows.append({"what": name, "environment": environment, "bound": bound, **found})
    return rows


def gpu(rounds: int) -> list[dict]:
    """Seconds and peak memory of steps of DiT-L/2 and DiT-XL/2, batch 32, bf16; None where memory does not suffice."""
    cases = [replace(case, size=size) for size in ("L", "XL") for case in ON_GPU]
    found = [run(case, "cuda", rounds) for case in tqdm(cases, desc="GPU", leave=False)]
    return [
        {"what": f"DiT-{case.size}/2: {case}", "size": case.size, **found}
        for case, found in zip(cases, found, strict=True)
    ]


def run(case: Case, device: str, steps: int, environment: dict[str, str] | None = None) -> dict:
    """Measure in a process of its own."""
    return program(__file__, [json.dumps(asdict(case)), device, str(steps)], environment or {})


def program(path: str, arguments: list[str], environment: dict[str, str]) -> dict:
    """Run a program of ours and read the last line it prints, as JSON."""
    line = [sys.executable, path, *arguments]
    done = subprocess.run(line, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    case, device, steps = Case(**json.loads(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    libraries = resident_peak()
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        step = Step(case, device)
        times = [seconds(step, device) for _ in range(steps + 2 * (device == "cuda"))]
    except torch.OutOfMemoryError:
        print(json.dumps({"seconds": None, "peak": None}))
        return
    if device == "cuda":
        print(json.dumps({"seconds": times[2:], "peak": torch.cuda.max_memory_allocated() / MIB}))
        return
    weights = sum(value.nbytes for value in step.method.backbone.parameters()) / MIB
    print(json.dumps({"seconds": times, "peak": resident_peak(), "libraries": libraries, "weights": weights}))


def resident_peak() -> float:
    """Peak of this process's resident memory in MiB, on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
