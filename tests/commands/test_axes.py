"""Every value of the method's axes through the command: it trains, is exported, and goes back onto its base."""

from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from dmp_lightning.commands.build import build_backbone
from dmp_lightning.commands.cli import CONFIG_DIR
from dmp_lightning.commands.train import train
from tests.configs import patched, small

AXES = {
    **{path.stem: [f"gate={path.stem}"] for path in sorted(Path(CONFIG_DIR, "gate").glob("*.yaml"))},
    "log_snr": ["method.condition=log_snr", "diffusion=cosine"],
    "released": ["method.balance=released"],
    "prepend": ["method.position=prepend", "method.prompt_count=5"],
    "normal": ["method.init=normal"],
    "xavier": ["method.init=xavier"],
    "tuning_prepend": ["method=prompt_tuning", "method.position=prepend"],
    "tuning_few": ["method=prompt_tuning", "method.prompt_count=4", "method.injection=last:1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("overrides", AXES.values(), ids=AXES)
def test_a_run_trains_it_and_its_patch_goes_back_onto_the_base(overrides: list[str], tmp_path: Path) -> None:
    config = small(tmp_path / "run", *overrides)
    metrics = train(config)
    assert metrics["frechet_pixels"] > 0
    path = tmp_path / "run" / "patch.safetensors"
    method = patched(build_backbone(config), path)
    assert_close(method.exported(), load_file(path))


@pytest.mark.slow
def test_rates_times_the_prompt_count_make_up_for_weights_that_sum_to_one(tmp_path: Path) -> None:
    options = {"mean": ["gate=linear_mean"], "sum": ["gate=linear", "recipe.rates_times_prompt_count=[prompts]"]}
    found = {}
    for name, overrides in options.items():
        train(small(tmp_path / name, *overrides, "+recipe.optimizer.eps=1e-30"))
        found[name] = load_file(tmp_path / name / "patch.safetensors")
    assert_close(found["sum"]["mixture.prompts"], 16 * found["mean"]["mixture.prompts"], rtol=0.02, atol=2e-3)
    plain = tmp_path / "plain"
    train(small(plain, "gate=linear"))
    shrunk = load_file(plain / "patch.safetensors")["mixture.prompts"]
    assert shrunk.abs().max() < found["sum"]["mixture.prompts"].abs().max() / 10
