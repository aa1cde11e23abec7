"""What is typed and would act on nothing is refused, with the reason; what acts in one run of a sweep is not."""

import pytest
import torch

from dmp_lightning.commands.build import build_backbone, build_method
from dmp_lightning.commands.checks.acting import TRAINED, check_acting, keys_of
from tests.configs import config

IDLE = {
    "train": {
        "method=lora gate.top_k=0.5": "gate.top_k has no effect here: method=LoRA has no gate",
        "method=prompt_tuning gate=hard": "gate has no effect",
        "method=frozen recipe.learning_rates.prompts=1e-3": "method=Frozen reads no learning rates",
        "method=frozen recipe.optimizer.weight_decay=0.1": "method=Frozen trains nothing",
        "method=lora recipe.learning_rates.gate=1e-3": "method=LoRA reads only recipe.learning_rates.lora",
        "method=full_finetune recipe.learning_rates.lora=1": "FullFinetune reads only recipe.learning_rates.backbone",
        "gate=none recipe.learning_rates.gate=1": "method=DMP reads only recipe.learning_rates.prompts",
        "method=lora recipe.rates_times_prompt_count=[prompts]": "method=LoRA has no prompts",
        "evaluation.guidance.interval=[0,0.5]": "evaluation.guidance.guidance_scale=1 means no guidance",
        "backbone.weights=null backbone.part=ema": "backbone.weights is null",
        "+recipe.foo=3": "nothing reads it",
        "gate=none method.balance=released": "gate=ConstantGate has constant weights",
        "gate=uniform method.balance.importance=2": "gate=ConstantGate has constant weights",
        "gate=none method.condition=log_snr": "gate=ConstantGate has no input",
        "method.balance.load=2": "with gate.top_k=1 all prompts are active",
        "gate=sigmoid method.balance.load=2": "with gate=SigmoidGate all prompts are active",
        "method.process={loss_weight:null}": "only method.condition=log_snr reads it",
        "diffusion=flow sampler=flow_euler loss_weight=min_snr": "this diffusion has no weight of the loss",
        "diffusion=flow diffusion.std=2": "only diffusion.times=logit_normal reads it",
        "+recipe.learning_rates.own=3": "method=DMP reads only",
    },
    "sample": {
        "recipe.max_steps=3": "sampling reads none of it",
        "loss_weight=p2": "sampling reads none of it",
        "method=lora": "sampling reads none of it",
        "evaluation.samples=3": "samples says how many",
        "seed=3": "for samples set evaluation.seed or seeds",
        "data.workers=3": "this command reads only data.train",
        "trainer.devices=2": "trainer.accelerator and trainer.precision",
    },
    "evaluate": {
        "recipe.max_steps=3": "an evaluation reads none of it",
        "evaluation.strata=4": "an evaluation takes no losses",
        "gate.top_k=0.5": "an evaluation reads none of it",
    },
    "encode": {
        "verify=x out=y": "verify only checks",
        "verify=x batch_size=3": "verify only checks",
        "verify=x data=imagenet": "verify only checks",
        "source=x captions=y": "no captions are encoded, set text_encoder",
        "source=x text_dtype=float16": "no captions are encoded",
        "source=x data.seed=3": "this command reads only data.train.folder and data.train.vae",
    },
    "export": {"recipe.max_steps=3": "an export reads none of it", "method=adaln gate=hard": "AdaLN has no gate"},
}
ACTING = {
    "train": [
        "method=lora recipe.learning_rates.lora=1e-3 recipe.max_steps=3",
        "method=frozen recipe.validate_every=3",
        "gate=topk method.balance.load=2",
        "gate=hard method.balance.load=2",
        "gate=sigmoid method.balance.importance=2",
        "method.balance={importance:0,load:0}",
        "method.condition=log_snr method.process={loss_weight:null}",
        "evaluation.guidance.interval=[0,0.5] evaluation.guidance.guidance_scale=2",
        "+recipe.length=3 recipe.max_steps=${recipe.length}",
        "+recipe.optimizer.eps=1e-9",
    ],
    "sample": [
        "evaluation.batch_size=3",
        "backbone.weights=null seed=3",
        "trainer.accelerator=cpu",
        "evaluation=digits",
    ],
    "encode": [
        "verify=x",
        "source=x data=ffhq data.train.vae=y out=z",
        "verify=x hydra.verbose=true",
        "source=x text_encoder=y captions=z text_length=77",
    ],
    "evaluate": ["features=pixels evaluation.samples=3", "trainer.precision=bf16-mixed"],
    "export": ["method=lora method.rank=3 name=x seed=3"],
}
SWEEPS = {
    "dmp,lora": ["recipe.learning_rates.prompts", "recipe.learning_rates.lora", "gate", "gate.top_k"],
    "frozen,adaln": ["recipe.learning_rates.adaln", "recipe.optimizer.weight_decay"],
}


def checked(command: str, typed: list[str]) -> None:
    placed = [] if command in ("encode", "export") else ["run_dir=x"]
    check_acting([config(*typed, *placed, name=command)], command, keys_of(typed))


@pytest.mark.parametrize(("command", "typed"), [(name, typed) for name, cases in IDLE.items() for typed in cases])
def test_what_acts_on_nothing_is_refused(command: str, typed: str) -> None:
    with pytest.raises(ValueError, match="has no effect here") as raised:
        checked(command, typed.split())
    assert IDLE[command][typed] in str(raised.value)


@pytest.mark.parametrize(("command", "typed"), [(name, typed) for name, cases in ACTING.items() for typed in cases])
def test_what_acts_is_not(command: str, typed: str) -> None:
    checked(command, typed.split())


@pytest.mark.parametrize("methods", SWEEPS)
def test_what_acts_in_one_run_of_a_sweep_is_not_refused(methods: str) -> None:
    configs = [config(f"method={name}", "run_dir=x") for name in methods.split(",")]
    check_acting(configs, "train", SWEEPS[methods])
    with pytest.raises(ValueError, match=r"recipe\.learning_rates\.backbone has no effect here"):
        check_acting(configs, "train", ["recipe.learning_rates.backbone"])


@pytest.mark.parametrize("method", ["dmp", "prompt_tuning", "lora", "adaln", "full_finetune", "frozen"])
def test_the_rates_that_a_method_reads_are_those_of_what_it_trains(method: str) -> None:
    settings = config(f"method={method}", "run_dir=x")
    with torch.random.fork_rng():
        groups = build_method(settings, build_backbone(settings)).parameter_groups()
    assert set(TRAINED[settings.method._target_.rpartition(".")[2]]) == set(groups)
