"""Features for a user's own pictures: a small network that is trained on these pictures first."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm, trange

from dmp_lightning.data.pixels import images_at
from dmp_lightning.data.source import Source
from dmp_lightning.files import DamagedError
from dmp_lightning.metrics.features import Features, Images, centred
from dmp_lightning.metrics.frechet import one_at_a_time
from dmp_lightning.tensors import load_tensors, save_tensors

SIDE = 48  # pixels, to which pictures are resized
PICTURES = 2_048  # to train on, at most
READ = 32  # pictures that are decoded at a time
STEPS, BATCH, RATE = 300, 40, 3e-3
TURNS, CHANGES = 4, 5  # a change is none, blur, noise, other colours, or shuffled parts

Pictures = Float[Tensor, "N 3 48 48"]


class OwnPictures(Features):
    """64 features of pictures (N, 3, H, W) or (N, 1, H, W), of any size.

    The network learns to recognise how a picture was turned and changed: blurred, noisy, of other colours, shuffled. So
    its features react to faults of samples. It needs neither labels nor a download. Training takes about half a minute,
    once for a data set: the weights are kept in the data's cache. Distances can be compared only if the weights are the
    same, and none of them is an FID.

    Args:
        source: the training data.
    """

    name = "frechet_own_pictures"
    num_features = 64

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.hidden = _network()[0]
        self.eval().requires_grad_(False)
        self._trained = False

    def forward(self, images: Images) -> Float[Tensor, "N 64"]:
        """Features of 8-bit images."""
        self.prepare()
        return self.hidden(_resized(images))

    @property
    def fingerprint(self) -> str:  # of the trained weights
        self.prepare()
        return super().fingerprint

    def prepare(self) -> None:
        """Read the weights from the data's cache, or train them; runs that start together train them once."""
        if self._trained:
            return
        file = self.source.cache / f"{self.name}-{self.source.fingerprint}.safetensors"
        with one_at_a_time(file):
            try:
                weights = load_tensors(file)
            except (DamagedError, FileNotFoundError):
                weights = _trained(_some_of(self.source))
                save_tensors(weights, file)
        self.hidden.load_state_dict(weights)
        self._trained = True


def _network() -> nn.Sequential:
    """From pictures to 64 features, and from these to the turn and the change; the same at each call."""
    channels, layers = 3, list[nn.Module]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for width in (16, 32, 64, 64):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.GELU()]
            channels = width
        hidden = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 64))
        return nn.Sequential(hidden, nn.GELU(), nn.Linear(64, TURNS + CHANGES))


def _resized(images: Images) -> Pictures:
    """In [-1, 1]; grey is repeated."""
    pictures = F.interpolate(centred(images), (SIDE, SIDE), mode="bilinear", antialias=True)
    return pictures.expand(-1, 3, -1, -1)


def _some_of(source: Source) -> Pictures:
    """Pictures of the source, evenly spread over it."""
    count = min(PICTURES, len(source))
    indices = [number * len(source) // count for number in range(count)]

    device = "cuda" if torch.cuda.is_available() else "cpu"
    starts = trange(0, count, READ, desc="Reading pictures for features", unit="batch", leave=False)
    return torch.cat([_resized(images_at(source, indices[start : start + READ], device)).cpu() for start in starts])


def _trained(pictures: Pictures) -> dict[str, Tensor]:
    """Weights of the features after training, which runs on the CPU and is deterministic."""
    network, chance = _network(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    with torch.enable_grad(), torch.autocast("cpu", enabled=False), torch.inference_mode(False):
        for _ in tqdm(range(STEPS), "Learning features", unit="step", leave=False):
            batch = pictures[torch.randint(len(pictures), (BATCH,), generator=chance)]
            changed, turn, change = _changed(batch, chance)
            logits = network(changed)
            loss = F.cross_entropy(logits[:, :TURNS], turn) + F.cross_entropy(logits[:, TURNS:], change)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return {name: value.detach() for name, value in network[0].state_dict().items()}


def _changed(pictures: Pictures, chance: torch.Generator) -> tuple[Pictures, Int[Tensor, " N"], Int[Tensor, " N"]]:
    """The pictures turned by quarters and changed, by how many quarters, and which change it was."""
    turn = torch.randint(TURNS, (len(pictures),), generator=chance)
    change = torch.randint(CHANGES, (len(pictures),), generator=chance)
    strength = float(torch.rand((), generator=chance))
    pairs = zip(pictures, turn.tolist(), strict=True)
    changed = torch.stack([picture.rot90(quarters, (1, 2)) for picture, quarters in pairs])
    blurred, noisy, coloured, shuffled = (change == number for number in range(1, CHANGES))
    changed[blurred] = gaussian_blur(changed[blurred], [9, 9], [0.5 + 2 * strength] * 2)
    changed[noisy] += (0.05 + 0.35 * strength) * torch.randn(changed[noisy].shape, generator=chance)
    cast = (0.2 + 0.8 * strength) * (torch.rand(int(coloured.sum()), 3, 1, 1, generator=chance) - 0.5)
    changed[coloured] = changed[coloured] * (1 + cast) + cast / 2
    grid = changed[shuffled].unflatten(3, (4, -1)).unflatten(2, (4, -1))  # N 3 4 12 4 12
    places = grid.transpose(3, 4).flatten(2, 3)[:, :, torch.randperm(16, generator=chance)]
    changed[shuffled] = places.unflatten(2, (4, 4)).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    return changed.clamp(-1, 1), turn, change
