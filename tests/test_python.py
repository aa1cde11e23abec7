"""`import dmp_lightning as dmp`: what a notebook uses, against the Lightning module and the commands."""

import pickle
import re
import subprocess
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import dmp_lightning as dmp
from dmp_lightning.data.stream import Batch
from dmp_lightning.diffusion.weighting import min_snr
from dmp_lightning.draws import Stream, generator
from dmp_lightning.methods import DMP, FullFinetune, PromptTuning, save_patch
from dmp_lightning.methods.patches import fingerprint, read_patch
from dmp_lightning.training.module import DiffusionModule
from tests.configs import patch_of_digits, patched
from tests.methods.test_contract import base

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "src/dmp_lightning/assets/digits_dit.safetensors"
X, T, LABELS = torch.randn(6, 4, 8, 8), torch.randint(0, 1000, (6,)), dmp.Condition(torch.tensor([0, 1, 2, 3, 0, 1]))


class Doubled(dmp.LinearGate):
    """A gate of a user's own."""

    def forward(self, e: Tensor, blocks: Tensor, noise: Tensor | None = None) -> dmp.Gates:
        gates = super().forward(e, blocks, noise)
        return gates._replace(weights=2 * gates.weights)


def moved(patch: dmp.Patch) -> dmp.Patch:
    """The patch with random numbers in it, so that it is clearly felt."""
    torch.manual_seed(3)
    for parameters in patch.parameters_by_group().values():
        for parameter in parameters:
            nn.init.normal_(parameter, std=0.5)
    return patch


@torch.no_grad()
def output(model: nn.Module) -> Tensor:
    return model(X, T, LABELS)


def test_names_are_there_and_typed_and_torch_waits_for_them() -> None:
    lines = "import sys, dmp_lightning as dmp; print(set(dmp.__all__) <= set(dir(dmp)), 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["True", "False"]
    assert all(getattr(dmp, name) is not None for name in dmp.__all__)
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", dmp.__version__)
    with pytest.raises(AttributeError, match="has no attribute 'atach'"):
        dmp.atach  # noqa: B018


def test_neither_lightning_nor_hydra_is_imported(tmp_path: Path) -> None:
    script = f"""
import sys, torch, dmp_lightning as dmp
base = dmp.load_base({str(DIGITS)!r}, heads=2)
patch = dmp.attach(base)
patch.loss(torch.randn(2, 1, 8, 8), dmp.Condition(torch.zeros(2).long())).total.backward()
patch.save("x.safetensors")
patch.remove()
dmp.load(base, "x.safetensors").strength = 0.5
[getattr(dmp, name) for name in dmp.__all__]
absent = ("lightning", "pytorch_lightning", "hydra", "omegaconf", "torchmetrics", "diffusers")  # timm imports wandb
print([name for name in absent if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    before, after = (float(names[name]) for name in ("before", "after"))
    assert after < before


def test_a_new_patch_leaves_the_base_as_it_was_to_the_bit() -> None:
    model = base()
    expected = output(model)
    dmp.attach(model)
    assert model.training
    assert torch.equal(output(model), expected)


def test_the_loss_is_that_of_the_training_step() -> None:
    """For the same draws: labels are dropped, and gates take noise."""
    gate, process = partial(dmp.LinearGate, top_k=0.5), dmp.DDPM(dmp.cosine_betas(), partial(min_snr, gamma=3.0))
    model = base()
    model.class_dropout_prob = 0.5
    patch = moved(dmp.attach(model, gate, balance={"importance": 0.3, "load": 0.2}, process=process))
    method = DMP(base(), gate, {"importance": 0.3, "load": 0.2})
    method.load_state_dict(patch.method.state_dict())
    method.backbone.class_dropout_prob = 0.5
    rates = {"prompts": 1e-4, "gate": 1e-3}
    module = DiffusionModule(
        method, process, optimizer=torch.optim.AdamW, lr_scheduler=None, learning_rates=rates, strata=1, seed=5,
        validation_seed=0, base="",
    )  # fmt: skip
    module._trainer = SimpleNamespace(world_size=1, accumulate_grad_batches=1, global_step=0)
    expected = module.training_step(Batch(X, LABELS, torch.arange(12, 18)))
    loss = patch.loss(X, LABELS, generator(5, Stream.TRAINING, 2))
    assert torch.equal(loss.total, expected["loss"])
    assert {f"train/{name}": value for name, value in loss.parts.items()} == {
        name: value for name, value in expected["logged"].items() if name != "train/loss"
    }
    assert set(loss.parts) == {"objective", "mse", "vb", "importance", "load"}
    loss.total.backward()
    expected["loss"].backward()
    for name, parameter in method.trained().items():
        assert torch.equal(parameter.grad, dict(patch.method.named_parameters())[name].grad)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_loop_of_ones_own_has_the_same_gradients() -> None:
    """The base is called as it always is, and the auxiliary losses are asked for afterwards."""
    patch = moved(dmp.attach(base(), partial(dmp.LinearGate, top_k=0.5)))
    with pytest.raises(dmp.UserError, match=r"call base\.train"):
        patch.auxiliary_losses()
    torch.manual_seed(0)
    noise = torch.randn(6, *patch.method.noise_shape).transpose(0, 1)
    expected = patch.method(X, T, LABELS, noise)
    torch.manual_seed(0)
    found = patch.base(X, T, condition=LABELS)
    assert torch.equal(found, expected.output)
    assert patch.auxiliary_losses() == expected.auxiliary
    patch.base.eval()
    assert torch.equal(output(patch.base), patch.method(X, T, LABELS).output)


@pytest.mark.parametrize("calls", ["the base", "the loss"])
def test_two_passes_before_one_backward_have_their_own_gradients(calls: str) -> None:
    patch = moved(dmp.attach(base()))

    def taken(checkpointed: bool) -> list[Tensor]:
        patch.base.activation_checkpointing = checkpointed
        torch.manual_seed(0)
        losses = [
            patch.base(x, T, LABELS).square().mean() if calls == "the base" else patch.loss(x, LABELS).total
            for x in (X, X.flip(0))
        ]
        groups = patch.parameters_by_group()
        return list(torch.autograd.grad(sum(losses), groups["prompts"] + groups["gate"]))

    assert all(torch.equal(one, other) for one, other in zip(taken(False), taken(True), strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gate": "constant"},
        {"gate": partial(dmp.LinearGate, top_k=0.5, weight_scale="mean"), "prompt_count": 4, "injection": range(2)},
        {"gate": dmp.MLPGate, "balance": "released", "condition": "log_snr"},
        {"condition": "log_snr", "process": dmp.DDPM(dmp.cosine_betas(100), partial(min_snr, gamma=2.0))},
        {"position": "prepend", "init": "normal", "prompt_count": 3},
    ],
)
def test_what_is_saved_is_loaded_and_is_what_commands_sample(options: dict, tmp_path: Path) -> None:
    patch = moved(dmp.attach(base(), **options))
    patch.base.eval()
    t = T % 100
    expected = patch.base(X, t, LABELS)
    assert not torch.equal(expected, base()(X, t, LABELS))
    patch.save(tmp_path / "x.safetensors", note="a test")
    assert read_patch(tmp_path / "x.safetensors").about["note"] == "a test"
    loaded = dmp.load(base().eval(), tmp_path / "x.safetensors")
    assert torch.equal(loaded.base(X, t, LABELS), expected)
    assert torch.equal(patched(base(), tmp_path / "x.safetensors").eval()(X, t, LABELS).output, expected)
    with torch.no_grad():  # what is not in a file
        for name in patch.method.training_only:
            patch.method.get_parameter(name).zero_()
    losses = [each.loss(X, LABELS, torch.Generator().manual_seed(0)).total for each in (patch, loaded)]
    assert torch.equal(*losses)
    loaded.save(tmp_path / "again.safetensors", note="a test")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "x.safetensors").read_bytes()


def flow_base() -> dmp.DiT:
    model = base()
    model.predicts = "velocity"
    return model


@pytest.mark.parametrize("process", [None, dmp.Flow("logit_normal", mean=0.2, std=0.7, shift=2.0)])
def test_a_base_that_predicts_a_velocity_is_trained_as_a_flow(process: dmp.Flow | None, tmp_path: Path) -> None:
    patch = moved(dmp.attach(flow_base(), condition="log_snr", process=process))
    patch.save(tmp_path / "x.safetensors")
    loaded = dmp.load(flow_base(), tmp_path / "x.safetensors")
    expected = (process or dmp.Flow()).options
    assert patch.process.options == loaded.process.options == expected
    with torch.no_grad():
        for name in patch.method.training_only:
            patch.method.get_parameter(name).zero_()
    losses = [each.loss(X, LABELS, torch.Generator().manual_seed(0)).total for each in (patch, loaded)]
    assert torch.equal(*losses)


def test_a_process_of_another_prediction_is_refused() -> None:
    model = flow_base()
    with pytest.raises(dmp.UserError, match=r"base predicts velocity, .* epsilon_and_variance: choose .*dmp\.Flow\(\)"):
        dmp.attach(model, process=dmp.DDPM(dmp.linear_betas()))
    assert not model.attached_patches
    with pytest.raises(dmp.UserError, match=r"base predicts epsilon_and_variance, .* predict v"):
        dmp.attach(base(), process=dmp.DDPM(dmp.linear_betas(), predicts="v"))
    dmp.attach(base(), process=dmp.DDPM(dmp.linear_betas(), predicts="epsilon"))  # its variance is of no use there


def test_a_patch_of_the_command_line_is_loaded(tmp_path: Path) -> None:
    path = patch_of_digits(tmp_path)
    model = dmp.load_base(DIGITS, heads=2)
    assert not model.training
    x, condition = torch.randn(3, 1, 8, 8), dmp.Condition(torch.zeros(3).long())
    expected = patched(deepcopy(model), path).eval()(x, T[:3], condition).output
    dmp.load(model, path)
    assert torch.equal(model(x, T[:3], condition), expected)


def test_plain_prompts_are_loaded_and_other_methods_are_not(tmp_path: Path) -> None:
    method, path = PromptTuning(base()), tmp_path / "x.safetensors"
    nn.init.normal_(method.mixture.prompts)
    about = {"method": {"_target_": "dmp_lightning.methods.PromptTuning"}}
    save_patch(method.exported(), path, fingerprint(base()), about)
    loaded = dmp.load(base(), path)
    assert torch.equal(output(loaded.base), method(X, T, LABELS).output)
    about = {"method": {"_target_": "dmp_lightning.methods.FullFinetune"}}
    save_patch(FullFinetune(base()).exported(), path, fingerprint(base()), about)
    with pytest.raises(dmp.UserError, match="full fine-tuning has no prompts to attach"):
        dmp.load(base(), path)


def test_strength_may_be_set_and_set_back(tmp_path: Path) -> None:
    plain, patch = base().eval(), moved(dmp.attach(base()))
    patch.base.eval()
    patch.save(tmp_path / "x.safetensors")
    full = output(patch.base)
    patch.strength = 0.3
    expected = patched(base(), tmp_path / "x.safetensors", 0.3).eval()(X, T, LABELS).output
    assert torch.equal(output(patch.base), expected)
    patch.strength = 0
    assert torch.equal(output(patch.base), output(plain))
    patch.strength = 1
    assert torch.equal(output(patch.base), full)


def test_prepended_prompts_are_all_or_nothing() -> None:
    patch = moved(dmp.attach(base(), position="prepend"))
    patch.strength = 0
    assert torch.equal(output(patch.base), output(base()))
    with pytest.raises(dmp.UserError, match=r"strength=0\.5: prepended prompts cannot be scaled"):
        patch.strength = 0.5


def test_removed_the_base_is_as_it_was() -> None:
    model = base()
    model.final_layer.requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    expected, names = output(model), set(model.state_dict())
    first, second = moved(dmp.attach(model)), moved(dmp.attach(model, "constant"))
    assert set(model.state_dict()) == names
    both = output(model.eval())
    first.remove()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not torch.equal(output(model), both)
    second.remove()
    assert torch.equal(output(model), expected)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert not model._forward_pre_hooks


def test_two_patches_add_up() -> None:
    """Each of them sees the tokens that the other leaves: in which order does not matter, but for rounding."""
    outputs = []
    for gates in (("linear", "constant"), ("constant", "linear")):
        patches = {gate: dmp.attach(model, gate) for model in [base().eval()] for gate in gates}
        for patch in (patches["linear"], patches["constant"]):
            moved(patch)
        outputs.append(output(patches["linear"].base))
        loss = patches["linear"].loss(X, LABELS, torch.Generator().manual_seed(0)).total
        outputs.append(loss.detach())
    torch.testing.assert_close(outputs[0], outputs[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs[1], outputs[3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("copied", [deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_the_base_has_a_patch_of_its_own(copied: object) -> None:
    patch = moved(dmp.attach(base()))
    patch.base(X, T, LABELS)  # in training mode: its gradients are not copied
    model = copied(patch.base.eval())
    expected = output(patch.base)
    patch.strength = 0
    patch.remove()
    assert torch.equal(output(model), expected)
    model.attached_patches[0].remove()
    assert torch.equal(output(model), output(base()))


def test_a_gate_of_ones_own_is_given_by_the_caller_not_by_the_file(tmp_path: Path) -> None:
    patch = moved(dmp.attach(base(), partial(Doubled, top_k=0.5)))
    expected = output(patch.base.eval())
    patch.save(tmp_path / "x.safetensors")
    model = base().eval()
    with pytest.raises(dmp.UserError, match=r"x\.safetensors cannot be used: method\.gate\._target_=.*Doubled is not"):
        dmp.load(model, tmp_path / "x.safetensors")
    dmp.load(model, tmp_path / "x.safetensors", gates=[Doubled])
    assert torch.equal(output(model), expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gate": "liner"}, "gate='liner' is unknown: choose constant, hard, linear, mlp, sigmoid, or give"),
        ({"gate": lambda width, prompts: dmp.LinearGate(width, prompts)}, "is unknown: choose constant, hard"),
        ({"gate": partial(dmp.LinearGate, top_k="half")}, r"method\.gate\.top_k=half has the wrong type"),
        ({"prompt_count": 7}, r"prompt_count=7 does not fit 16 tokens"),
        ({"balance": {"importance": 1.0}}, r"balance=.* choose released, or weights of importance and load"),
        ({"process": dmp.DDPM(dmp.linear_betas(), lambda snr: snr)}, "whose loss_weight is one of constant, min_snr"),
    ],
)
def test_a_mistake_is_told_and_leaves_the_base_as_it_was(options: dict, said: str) -> None:
    model = base()
    with pytest.raises(dmp.UserError, match=said):
        dmp.attach(model, **options)
    assert [name for name, each in model.named_parameters() if not each.requires_grad] == ["pos_embed"]
    assert not model.attached_patches
    assert not model._forward_pre_hooks


def test_a_base_of_another_size_is_read_from_its_file(tmp_path: Path) -> None:
    model = base()
    torch.save(model.state_dict(), tmp_path / "dit.pt")
    loaded = dmp.load_base(tmp_path / "dit.pt", heads=4, predicts="epsilon")
    assert torch.equal(output(loaded), output(model))
    assert (loaded.null_label, loaded.sample_shape, loaded.grid) == (4, (4, 8, 8), (4, 4))
    assert (
        dmp.load_base(tmp_path / "dit.pt", heads=4, dtype="bfloat16").blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    )
    with pytest.raises(dmp.UserError, match="heads of a DiT of width 32 cannot be guessed"):
        dmp.load_base(tmp_path / "dit.pt")
