"""Writing what a checkpoint holds as the file that is shipped."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dmp_lightning.commands.about import about_patch
from dmp_lightning.commands.build import build_backbone, method_on
from dmp_lightning.commands.checks.preflight import read_checkpoint
from dmp_lightning.commands.trust.trusted import build
from dmp_lightning.methods import Frozen, Method, save_patch
from dmp_lightning.methods.patches import base_of, is_patch
from dmp_lightning.runs.folder import checkpoint_to_resume, latest_run
from dmp_lightning.user_error import UserError


def export(config: DictConfig) -> Path:
    """Write the file `output`: the patch's tensors, the config of its method, and the hash of its base; return it.

    Raises:
        MissingFileError: there is no such checkpoint.
        UserError: it is of another base, of another method, or of one that trains nothing.
    """
    runs = Path("runs", config.name)
    path = checkpoint_to_resume(latest_run(runs) if config.checkpoint == "latest" else runs, config.checkpoint)
    if path is None:
        raise UserError("There is nothing to export: set checkpoint to latest, or to the path of one.")
    output = Path(config.output)
    if output.exists() and not is_patch(output):
        raise UserError(f"output={output} exists and is not a patch: choose another name.")
    checkpoint = read_checkpoint(path)
    backbone = build_backbone(config)
    base = base_of(Frozen(backbone))
    if checkpoint.get("base") != base:
        raise UserError(f"{path} was trained on another base: set backbone.weights to its base.")
    described = method_on(config, backbone)
    method = build(described)(backbone=backbone)
    restore(method, checkpoint, path)
    save_patch(method.exported(), output, base, about_patch(config, method, checkpoint["global_step"]))
    told = f"with SHA-256 {base[:12]}..." if isinstance(base, str) else f"of class {base['class']}"
    print(f"{output}: {method.label}, {method.size:,} parameters, of a base {told}")
    return output


def restore(method: Method, checkpoint: dict[str, Any], path: Path) -> None:
    """Give the method what it trained, or with EMA the averages of it.

    Raises:
        UserError: the checkpoint, which is from `path`, is of another method or other options.
    """
    averages = checkpoint["callbacks"].get("EMA", {}).get("averages")
    found = averages or {name.removeprefix("method."): value for name, value in checkpoint["state_dict"].items()}
    expected = method.trained()
    for name in sorted(expected.keys() | found.keys()):
        if name not in expected or name not in found or expected[name].shape != found[name].shape:
            raise UserError(f"{path} was made with another method or options ({name} differs): give those of its run.")
    for name, parameter in expected.items():
        parameter.data.copy_(found[name])
