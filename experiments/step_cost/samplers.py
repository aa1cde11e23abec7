"""How many function evaluations a sampler needs to reach the Fréchet distance of DDPM-250 on the digits' models."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from importlib.resources import files
from multiprocessing import get_context
from statistics import mean, stdev
from typing import Any

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from tqdm import tqdm

from dmp_lightning.backbones import DiT, load_weights
from dmp_lightning.data.digits import Digits
from dmp_lightning.data.pixels import all_images, to_uint8
from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.sampler import Sampler
from dmp_lightning.diffusion.schedule import linear_betas
from dmp_lightning.metrics.classifiers import DigitsClassifier
from dmp_lightning.metrics.drawn import generate
from dmp_lightning.metrics.frechet import FrechetDistance

SHAPE = (1, 8, 8)
REFERENCE = ("DDPM", 250)
BOUND = 25
SEEDS = (0, 1, 2)
SOLVERS: dict[str, tuple[Callable[..., Any], bool]] = {  # and whether at the timesteps of the DiT release
    "DDPM": (partial(DDPMScheduler, variance_type="learned_range", clip_sample=False), True),
    "DPM-Solver++": (DPMSolverMultistepScheduler, False),
    "SDE-DPM-Solver++": (partial(DPMSolverMultistepScheduler, algorithm_type="sde-dpmsolver++"), False),
    "UniPC": (UniPCMultistepScheduler, False),
    "DDIM": (partial(DPMSolverMultistepScheduler, solver_order=1), True),
}
STEPS = (5, 10, 15, 20, 25, 50)
MODELS = {
    "raw weights (the default)": ("digits_dit.safetensors", ["DPM-Solver++", "SDE-DPM-Solver++", "UniPC", "DDIM"]),
    "averaged weights": ("digits_dit_ema.safetensors", ["DPM-Solver++", "SDE-DPM-Solver++"]),
}


def measure(samples: int, workers: int) -> dict[str, dict]:
    """By model and solver: the distances of all seeds at each number of steps, and how many steps suffice."""
    jobs = {}
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for model, (weights, solvers) in MODELS.items():
            cells = [REFERENCE, *[(solver, steps) for solver in solvers for steps in STEPS]]
            for cell in sorted(cells, key=lambda cell: -cell[1]):  # the longest first
                for seed in SEEDS:
                    jobs[pool.submit(distance, weights, *cell, seed, samples)] = (model, *cell, seed)
        done = list(tqdm(as_completed(jobs), total=len(jobs), desc="Samplers", leave=False))
    found = {jobs[job]: job.result() for job in done}
    return {model: summarise({key[1:]: value for key, value in found.items() if key[0] == model}) for model in MODELS}


def distance(weights: str, solver: str, steps: int, seed: int, samples: int) -> float:
    """Fréchet distance (digits classifier) of that many samples."""
    shape: dict[str, Any] = {
        "input_size": 8,
        "in_channels": 1,
        "patch_size": 2,
        "num_classes": 1,
        "class_dropout_prob": 0.0,
    }
    model = load_weights(
        DiT(width=32, depth=3, heads=2, **shape), str(files("dmp_lightning") / "assets" / weights)
    ).eval()
    source, measure = Digits(train=True), FrechetDistance(DigitsClassifier())
    measure.reference(all_images(source, 500), source.fingerprint, source.cache)
    measure.reset()
    scheduler, respaced = SOLVERS[solver]
    sampler = Sampler(scheduler, steps, respaced)
    for _, batch in generate(
        model, sampler, DDPM(linear_betas()), SHAPE, model.conditions(), range(samples), seed, 500
    ):
        measure.update(to_uint8(batch))
    return measure.compute()


def summarise(found: dict[tuple[str, int, int], float]) -> dict:
    """Distances by solver and steps; the fewest steps from which on the mean is no higher than the reference's, by more
    than its standard deviation over seeds."""
    reference = [found[(*REFERENCE, seed)] for seed in SEEDS]
    centre, spread = mean(reference), stdev(reference)
    solvers = {}
    for solver in dict.fromkeys(name for name, *_ in found if name != REFERENCE[0]):
        distances = {steps: [found[solver, steps, seed] for seed in SEEDS] for steps in STEPS}
        suffices = None
        for steps in reversed(STEPS):
            if mean(distances[steps]) - centre > spread:
                break
            suffices = steps
        solvers[solver] = {"distances": distances, "suffices": suffices}
    return {"reference": reference, "mean": centre, "spread": spread, "solvers": solvers, "bound": BOUND}
