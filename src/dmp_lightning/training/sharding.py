"""Frozen weights shared out among the processes, for backbones that one device does not hold."""

from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from dmp_lightning.backbones import Adapter
from dmp_lightning.methods import Method
from dmp_lightning.training.module import DiffusionModule
from dmp_lightning.user_error import UserError


class FrozenShards(DDPStrategy):
    """DDP whose processes hold a share each of the blocks' frozen weights, and gather a block's only while it works.

    This is torch's FSDP for what is frozen. What is trained is whole on each process, so that averages, checkpoints and
    patches are those of any other strategy, under which a run may go on. Lightning's own FSDP would shard that as well,
    and needs GPUs.

    Raises:
        UserError: when training or validation begins, the method leaves nothing of the blocks frozen.
    """

    def model_to_device(self) -> None:
        module = self.lightning_module
        assert isinstance(module, DiffusionModule)
        shard_frozen(module.method, init_device_mesh(self.root_device.type, (self.world_size,)))
        shards = [name for name, value in module.named_parameters() if isinstance(value, DTensor)]
        # DDP would overwrite each process's shards with those of the first.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, shards)
        super().model_to_device()


def shard_frozen(method: Method, mesh: DeviceMesh) -> None:
    """Shard what is frozen of the blocks, in place and once: a base and the methods on it have the same blocks.

    Raises:
        UserError: nothing of them is frozen.
    """
    blocks = method.backbone.blocks
    if isinstance(blocks[0], FSDPModule):
        return
    whole = {parameter for parameter in blocks.parameters() if parameter.requires_grad}
    if len(whole) == len(list(blocks.parameters())):
        raise UserError("trainer=fsdp shards frozen blocks, but this method trains them: choose trainer=ddp.")
    if isinstance(method.backbone, Adapter) and method.backbone.family.embed is not None:
        whole |= set(blocks[0].parameters())  # the model's own forward reads embedders of its first block
    for block in blocks:
        fully_shard(block, mesh=mesh, ignored_params=whole)
    fully_shard(
        method, mesh=mesh, ignored_params=set(method.parameters())
    )  # lets blocks be gathered ahead of their turn
