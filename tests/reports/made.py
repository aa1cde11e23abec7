"""Records made by hand, with known numbers: what the tests of the report read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from dmp_lightning.runs.said import base_name, in_sweep, parts

CHANGES = {"linear": (-4.0, -5.0, -6.0), "topk": (-0.5, 0.5, 0.3), "tuning": (-3.0,), "finetune": (2.0, 2.5, 3.1)}
"""Change of the distance for each seed, from a base of 20."""
PARAMETERS = {"linear": 2000, "topk": 2000, "tuning": 1500, "finetune": 69000, "frozen": 0}
METHODS = {"linear": "DMP", "topk": "DMP", "tuning": "PromptTuning", "finetune": "FullFinetune", "frozen": "Frozen"}
LABELS = {"DMP": "mixture of prompts (DMP)", "PromptTuning": "plain prompt tuning", "FullFinetune": "full fine-tuning"}
BASE, STRATA = 20.0, 4
METRIC = "frechet_digits_classifier"


def config(kind: str, seed: int, **more: Any) -> dict[str, Any]:
    """The whole config of a run, as far as a report reads it."""
    method: dict[str, Any] = {"_target_": f"dmp_lightning.methods.{METHODS[kind]}", "_partial_": True}
    if METHODS[kind] == "DMP":
        method["gate"] = {"_target_": "dmp_lightning.prompts.LinearGate", "top_k": 0.5 if kind == "topk" else 1.0}
    return {
        "backbone": {"weights": "weights/small.safetensors", "model": {"input_size": 8, "patch_size": 2}},
        "method": method,
        "recipe": {"max_steps": 200},
        "trainer": {"max_steps": 200},
        "evaluation": {"samples": 500},
        "seed": seed,
        "run_dir": f"runs/{kind}-{seed}",
        "label": None,
        "sweep": None,
    } | more


def record(kind: str, seed: int, change: float, **more: Any) -> dict[str, Any]:
    """A record of one run; `change` is that of the distance, its own interval one to either side."""
    loss, told = change / 1000, config(kind, seed, **more)
    final = _metrics(BASE + change, 0.1 + loss, PARAMETERS[kind])
    if kind != "frozen":
        final["frechet_digits_classifier_change"] = {"mean": change, "low": change - 1, "high": change + 1}
        final["loss_difference"] = {"mean": loss, "low": loss - 1e-4, "high": loss + 1e-4}
        values = [4 * loss * part / 10 for part in (4, 3, 2, 1)]
        strata = {"mean": values, "low": [v - 1e-4 for v in values], "high": [v + 1e-4 for v in values]}
        final["loss_difference_by_stratum"] = strata
    said, label = parts(told), LABELS.get(METHODS[kind], "pre-trained")
    return {
        "schema": 2,
        "name": "made",
        "base": {"name": base_name(told), "parameters": 70000, "settings": said.base},
        "measure": {
            "metric": METRIC,
            "reference_images": 1437,
            "features": 64,
            "too_few": [],
            "settings": said.measure,
        },
        "method": {"label": label, "kind": label, "parameters": PARAMETERS[kind], "settings": said.method},
        **in_sweep(told),
        "config": told,
        "seeds": {"training": seed, "evaluation": 0},
        "metrics": {"base": _metrics(BASE, 0.1, 0), "final": final},
        "versions": {"python": "3.11.7", "torch": "2.14.1"},
        "commit": "0123abc",
        "machine": {"platform": "Linux", "cpus": 2, "device": "cpu"},
        "command": f"python -m dmp_lightning.train seed={seed} # </script><b>{kind}",
    }


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def make_runs(folder: Path) -> Path:
    """Two gates of a sweep, two other methods, a frozen run, a failed job, and a measurement at full length."""
    for kind, changes in CHANGES.items():
        for seed, change in enumerate(changes, start=1):
            sweep = {"name": "gate_type", "axes": {"gate": kind}} if kind in ("linear", "topk") else None
            run = folder / kind / f"seed={seed}"
            write(run / "results.json", record(kind, seed, change, sweep=sweep))
            save_file(evidence(kind, seed), run / "evidence.safetensors")
    write(folder / "frozen" / "results.json", record("frozen", 1, 0.0))
    failed = {
        "schema": 1,
        "name": "made",
        "config": config("linear", 4),
        "error": "Out of <memory>.",
        "command": "python",
    }
    write(folder / "gate=mlp" / "failed.json", failed)
    full = record("linear", 1, -5.0) | {"seeds": {"evaluation": 0}}
    full["metrics"] = {"base": {"fid": 20.5, "kid": 0.01}, "patched": {"fid": 15.25, "kid": 0.008}, "depend_on": {}}
    write(folder / "full" / "results.json", full)
    return folder


def evidence(kind: str, seed: int) -> dict[str, np.ndarray]:
    """Grey samples, dark before and light after; and for DMP gates of which the second block has one prompt alone."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (6, 8, 8), dtype=np.uint8)
    found = {"samples_before": images, "samples_after": images + np.uint8(150)}
    if METHODS[kind] == "DMP":
        weights = np.ones((2, 10, 16), np.float32)
        weights[1] = 0
        weights[1, :, 3] = 16
        found |= {"gate_weights": weights, "gate_timesteps": np.linspace(0, 999, 10).astype(np.int64)}
        found |= {"gate_blocks": np.array([0, 2]), "prompt_norms": np.ones((2, 16), np.float32)}
        captions = "\n".join(f"{number} <apples>" for number in range(6))
        found["captions"] = np.frombuffer(captions.encode(), np.uint8)
    return found


def _metrics(distance: float, loss: float, trained: int) -> dict[str, Any]:
    return {METRIC: distance, "loss": loss, "training_seconds": 10.0 + trained / 1000, "peak_memory_mib": 900.0}
