"""What becomes of a patch whose gate no longer knows the timestep?

python experiments/gate_learned/measure.py DATA         # digits or fashion_mnist, whose main table has been run

Each mixture of prompts that the main table has trained, annealed, is measured as it is, with its gate's weights
averaged over all timesteps, and with the timesteps that the gate sees shuffled (three permutations), on the noise and
images of the run itself. Writes results/DATA/BASE-SEED.json, and skips what has one.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor

from dmp_lightning.backbones import Embeddings
from dmp_lightning.commands.base_results import measure_base
from dmp_lightning.commands.build import build_parts
from dmp_lightning.commands.build_training import build_evaluation, build_module, build_trainer
from dmp_lightning.methods import DMP, Frozen, read_patch
from dmp_lightning.methods.patches import fingerprint
from dmp_lightning.patching.parse import from_file
from dmp_lightning.prompts import Gates, Mixture
from dmp_lightning.runs.record import Results, provenance, read_results, write_results
from dmp_lightning.training.interruption import Interruption

RUNS, RESULTS = Path("experiments/main_table/runs"), Path(__file__).parent / "results"
PERMUTATIONS = [1, 2, 3]
Prepare = Callable[..., Mixture]


def shuffled(method: DMP, steps: int, seed: int) -> Prepare:
    """`prepare` with the gate seeing another timestep than the blocks: always the same one in its place."""
    permutation, prepare = torch.randperm(steps, generator=torch.Generator().manual_seed(seed)), method.prepare

    def prepare_for_another(t: Tensor, embeddings: Embeddings, noise: Tensor | None) -> Mixture:
        other = permutation.to(t.device)[t]
        return prepare(other, embeddings._replace(timestep=method.backbone.t_embedder(other)), noise)

    return prepare_for_another


@torch.no_grad()
def averaged(method: DMP, steps: int) -> Prepare:
    """`prepare` with the gate's weights of all timesteps averaged, for label 0."""
    device = next(method.backbone.parameters()).device
    t = torch.arange(steps, device=device)
    gates = method.to(device).gates(t, method.backbone.conditions().take([0] * steps).to(device))
    assert gates is not None
    weights = gates.weights.mean(1, keepdim=True)
    return lambda t, embeddings, noise: Mixture(Gates(weights.to(t.device), None), method.mixture.prompts.unbind())


def measure(run: Path) -> Results:
    """The paired loss and Fréchet distance of a run's patch, as it is and with its gate's knowledge taken away."""
    record = read_results(run / "results.json")
    config = OmegaConf.create(record.config | {"logger": {}, "run_dir": str(run)})
    data, features, backbone = build_parts(config)
    with Interruption() as interruption:
        evaluation = build_evaluation(config, features, run / "shuffled")
        trainer = build_trainer(config, {}, evaluation, None, interruption, run / "shuffled")
        base = fingerprint(backbone)
        measure_base(config, trainer, build_module(config, Frozen(backbone), base), data, evaluation, resuming=True)
        path, found = run / "patch.safetensors", {}
        patch = read_patch(path)
        for name in ("as it is", "averaged", *(f"shuffled, permutation {seed}" for seed in PERMUTATIONS)):
            method = from_file(backbone, path, patch)
            assert isinstance(method, DMP)
            module = build_module(config, method, base)
            if name == "averaged":
                method.prepare = averaged(method, module.process.schedule.steps)
            elif name != "as it is":
                method.prepare = shuffled(method, module.process.schedule.steps, int(name[-1]))
            trainer.validate(module, datamodule=data, verbose=False)
            outcome = evaluation.outcome()
            found[name] = {
                evaluation.generation.frechet.name: outcome.frechet,
                "loss_difference": outcome.comparison.overall.interval,
                "loss_difference_by_stratum": [each.mean for each in outcome.comparison.by_stratum],
            }
    seeds = record.seeds | {"permutations": PERMUTATIONS}
    return replace(record, seeds=seeds, metrics=found, **provenance(str(trainer.strategy.root_device)))


if __name__ == "__main__":
    data = sys.argv[1]
    records = sorted((RUNS / data).glob("*/annealed/last/dmp/seed-*/results.json"))
    if not records:
        train = f"python experiments/run.py main_table {data} --only annealed/last/dmp --again"
        sys.exit(f"{RUNS / data} has no patches of annealed mixtures: {train}")
    for record in records:
        run = record.parent
        base, seed = run.parents[3].name, run.name.removeprefix("seed-")
        path = RESULTS / data / f"{base}-{seed}.json"
        if not path.exists():
            write_results(measure(run), path)
        for name, values in read_results(path).metrics.items():
            print(f"{base}, seed {seed}: {name}: {values}")
