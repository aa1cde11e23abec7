"""A store on a real S3 server on loopback."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from moto.server import ThreadedMotoServer

from dmp_lightning.data.latents.source import Latents
from dmp_lightning.files import read_json, write_json
from tests.data.test_latents import change_store, write_store


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An S3 file system with a bucket of its own."""
    settings = {"ENDPOINT_URL": server, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    system.mkdir("bucket")
    yield system
    system.rm("bucket", recursive=True)


def put(system: Any, store: Path) -> str:
    for path in store.glob("*.*"):
        system.put_file(str(path), f"bucket/latents/{path.name}")
    return "s3://bucket/latents"


def test_a_remote_store_is_fetched_once_and_read_as_a_local_one(bucket: Any, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    url = put(bucket, store)
    remote, local = (Latents(folder, True, store / "vae") for folder in (url, store))
    assert remote.fingerprint == local.fingerprint
    assert torch.equal(remote.read(range(45)).x, local.read(range(45)).x)
    bucket.rm("bucket/latents/a.safetensors")
    assert len(Latents(url, False, store / "vae")) == 5


def test_another_store_at_the_same_place_is_fetched(bucket: Any, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    url = put(bucket, store)
    before = Latents(url, True, store / "vae").read([0, 40]).x
    put(bucket, change_store(store, lambda moments: moments + 1))
    after = Latents(url, True, store / "vae").read([0, 40]).x
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_what_is_missing_or_damaged_there_is_named(bucket: Any, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    with pytest.raises(FileNotFoundError, match=r"no bucket/latents/manifest\.json in the storage"):
        Latents("s3://bucket/latents", True, store / "vae")
    url = put(bucket, store)
    bucket.pipe_file("bucket/latents/b.safetensors", b"damaged")
    with pytest.raises(ValueError, match=r"bucket/latents/b\.safetensors arrived damaged"):
        Latents(url, True, store / "vae")
    bucket.rm("bucket/latents/b.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no bucket/latents/b\.safetensors in"):
        Latents(url, True, store / "vae")
    put(bucket, store)
    assert len(Latents(url, True, store / "vae")) == 45


def test_a_protocol_that_nobody_knows_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"s4"):
        Latents("s4://bucket/latents", True, tmp_path)


@pytest.mark.parametrize(
    "name",
    ["../../victim.safetensors", "/victim.safetensors", "a/b.safetensors", "victim.rc", "manifest.json", "..", ""],
)
def test_the_name_of_a_shard_cannot_leave_the_store(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    store = write_store(tmp_path / "a" / "b" / "store")
    manifest = read_json(store / "manifest.json")
    (tmp_path / "a" / "victim.safetensors").write_text("theirs")
    manifest["shards"][0] |= {"name": name, "sha256": hashlib.sha256(b"theirs").hexdigest()}
    write_json(manifest, store / "manifest.json")
    for folder in (store, f"file://{store}"):
        with pytest.raises(
            ValueError, match=r"manifest\.json does not describe latents \((name of a shard=|the shard )"
        ):
            Latents(folder, True, store / "vae")
    assert not list((tmp_path / "cache").rglob("victim*"))


def test_a_shard_without_a_checksum_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))
    store = write_store(tmp_path / "store")
    manifest = read_json(store / "manifest.json")
    manifest["shards"][0]["sha256"] = None
    write_json(manifest, store / "manifest.json")
    with pytest.raises(ValueError, match=r"the shard 'a\.safetensors' has no SHA-256"):
        Latents(f"file://{store}", True, store / "vae")
