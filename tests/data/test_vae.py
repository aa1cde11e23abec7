"""The VAE of the hub where there is no network, and where the hub does not have it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from dmp_lightning.data.latents.vae import load_vae

NAME = "hf://nobody/nothing"


def at(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub be at `address`, with an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def empty_hub() -> Iterator[str]:
    """The address of a hub that has nothing."""

    class Nothing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

    with HTTPServer(("127.0.0.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_hub_out_of_reach_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    at("http://127.0.0.1:9", tmp_path, monkeypatch)
    with pytest.raises(FileNotFoundError, match=f"The hub cannot be reached for {NAME} .*: set vae to a folder"):
        load_vae(NAME, download=True)
    assert "Retrying" not in capfd.readouterr().err


def test_a_vae_that_the_hub_does_not_have_is_told(
    empty_hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(empty_hub, tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=f"{NAME} cannot be loaded as an AutoencoderKL .*: set vae to another"):
        load_vae(NAME, download=True)


def test_a_config_that_names_a_quantiser_is_refused(tmp_path: Path) -> None:
    text = '{"_class_name": "AutoencoderKL", "quantization_config": {"quant_method": "torchao"}}'
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="names a quantiser"):
        load_vae(str(tmp_path))
