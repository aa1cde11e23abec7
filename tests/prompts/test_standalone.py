import re
import subprocess
import sys

SCRIPT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb", "diffusers"}:
            raise ImportError(f"{name} is absent here")

sys.meta_path.insert(0, Absent())
try:
    import hydra
except ImportError:
    print("absent")

from functools import partial
import torch
from dmp_lightning.prompts import LinearGate, MixtureOfPrompts, balance_losses

mixture = MixtureOfPrompts(partial(LinearGate, top_k=0.5), depth=2, width=8, grid=(2, 2))
mixed = mixture.weigh(torch.randn(3, 8), torch.randn(2, 3, 4))
tokens = mixture.inject(torch.randn(3, 4, 8), 1, mixed)
(tokens.square().mean() + sum(balance_losses(mixed.gates).values())).backward()
print("trained", mixture.prompts.grad[1].abs().sum() > 0)
print("ours", sorted(name for name in sys.modules if name.startswith("dmp_lightning.")))
"""


def test_prompts_work_where_lightning_hydra_wandb_and_diffusers_are_absent():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    absent, trained, ours = done.stdout.splitlines()
    assert absent == "absent"
    assert trained == "trained tensor(True)"
    assert set(re.findall(r"dmp_lightning\.(\w+)", ours)) == {"prompts", "user_error"}
