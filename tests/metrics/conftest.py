"""Inception-v3 with random weights, from an independent port of it."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import pytest
import pytorch_fid.inception
import torch
import torchvision
from torch import nn

from dmp_lightning.metrics import features


class RandomInception(NamedTuple):
    """A weights file that `features.Inception` accepts, and pytorch-fid's network with the same weights."""

    file: Path
    network: nn.Module


def random_network() -> nn.Module:
    """pytorch-fid's Inception-v3, whose state dict torch-fidelity's loads, with random weights."""
    with pytest.MonkeyPatch.context() as patch:
        # In place of the download, and of loading what it brings.
        patch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torchvision.models.Inception3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        network = pytorch_fid.inception.fid_inception_v3()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # the default lets the features fade to a constant
    return network.eval()


@pytest.fixture(scope="session")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> RandomInception:
    network = random_network()
    file = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), file)
    return RandomInception(file, network)


@pytest.fixture
def inception(random_inception: RandomInception, monkeypatch: pytest.MonkeyPatch) -> features.Inception:
    digest = hashlib.sha256(random_inception.file.read_bytes()).hexdigest()
    monkeypatch.setattr(features, "INCEPTION_SHA256", digest)
    return features.Inception(random_inception.file)
