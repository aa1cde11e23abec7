"""What `push_to_hub` writes, read by huggingface_hub's own parser, by YAML's and by safetensors' reader."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import OfflineModeIsEnabled
from PIL import Image
from safetensors.torch import load_file

import dmp_lightning as dmp
from dmp_lightning.commands.build import build_backbone
from dmp_lightning.commands.train import train
from dmp_lightning.methods import read_patch
from dmp_lightning.runs.record import read_results
from tests.backbones.tiny import build, call_of
from tests.configs import patched, small
from tests.methods.test_contract import base

HOSTILE = (
    "</h1><script>alert(1)</script> [a](http://b) ![c](d) `e` \"f'\n---\nlicense: mit\n# g | h ${i} <!-- \x1b \u202e"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of a run of the command `train`, and its config."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = small(folder, "recipe.learning_rates.gate=1.0")
    train(settings)
    return folder, settings


def front_matter(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_patch_of_a_run_is_shared_with_its_results_and_pictures(run: tuple[Path, Any], tmp_path: Path) -> None:
    folder, settings = run
    model = build_backbone(settings)
    place = dmp.push_to_hub(
        folder / "patch.safetensors", "someone/digits", run=folder, folder=tmp_path / "out", license="mit"
    )
    assert place == str(tmp_path / "out")
    assert names(tmp_path / "out") == {"patch.safetensors", "README.md", "samples.png", "gates.png"}
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.to_dict() == front_matter(tmp_path / "out")
    assert (card.data.library_name, card.data.license, card.data.base_model) == ("dmp-lightning", "mit", None)
    final = read_results(folder / "results.json").metrics["final"]
    row = next(line for line in card.text.splitlines() if line.startswith("| held-out loss"))
    change = [float(text.replace("−", "-")) for text in re.findall(r"[+−][\d.]+", row)]
    expected = [final["loss_difference"][end] for end in ("mean", "low", "high")]
    assert change == pytest.approx(expected, abs=0.06 * (expected[2] - expected[1]) / 2)  # two digits of it
    assert f"{final['loss']:.4g}" in row
    for name in ("samples.png", "gates.png"):
        assert f"]({name})" in card.text
        with Image.open(tmp_path / "out" / name) as picture:
            picture.verify()
    # As the card says, it is loaded in Python; it is what the commands sample.
    model.eval()
    x, t, condition = torch.randn(3, 1, 8, 8), torch.tensor([1, 500, 999]), dmp.Condition(torch.zeros(3).long())
    with torch.no_grad():
        expected_output = patched(build_backbone(settings), folder / "patch.safetensors").eval()(x, t, condition).output
        dmp.load(model, tmp_path / "out")
        assert torch.equal(model(x, t, condition), expected_output)


def test_a_runs_file_says_how_it_was_trained(run: tuple[Path, Any]) -> None:
    folder, settings = run
    training, metrics = (
        read_patch(folder / "patch.safetensors").about["training"],
        read_results(folder / "results.json").metrics,
    )
    assert (training["steps"], training["seed"], training["batch_size"]) == (6, settings.seed, 32)
    assert (training["data"], training["ema_decay"]) == ("Digits", None)
    assert training["learning_rates"] == {"prompts": settings.recipe.learning_rates.prompts, "gate": 1.0}
    assert (training["loss_before"], training["loss_after"]) == (metrics["base"]["loss"], metrics["final"]["loss"])
    ends = ("mean", "low", "high")
    assert training["loss_change"] == {end: metrics["final"]["loss_difference"][end] for end in ends}


def test_a_patch_of_python_is_shared_with_the_run_that_trained_it(run: tuple[Path, Any], tmp_path: Path) -> None:
    folder, settings = run
    patch = dmp.load(build_backbone(settings), folder)
    dmp.push_to_hub(patch, "someone/digits", run=folder, folder=tmp_path, title="Digits", description="Better digits.")
    again, about = load_file(tmp_path / "patch.safetensors"), read_patch(tmp_path / "patch.safetensors").about
    assert all(torch.equal(value, again[name]) for name, value in load_file(folder / "patch.safetensors").items())
    assert (about["title"], about["description"]) == ("Digits", "Better digits.")
    assert about["training"] == read_patch(folder / "patch.safetensors").about["training"]
    text = ModelCard.load(tmp_path / "README.md").text
    assert "# Digits" in text
    assert "Better digits." in text
    with torch.no_grad():
        patch.method.mixture.prompts.add_(1)
    with pytest.raises(dmp.UserError, match="has trained another patch than this one"):
        dmp.push_to_hub(patch, "someone/digits", run=folder, folder=tmp_path / "other")


def test_pictures_of_an_earlier_run_go_and_links_bring_nothing_in(run: tuple[Path, Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    for name in ("results.json", "patch.safetensors"):
        (folder / name).write_bytes((run[0] / name).read_bytes())
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x89PNG\r\n\x1a\n secret")
    (folder / "figures" / "gates.png").symlink_to(secret)
    out = tmp_path / "out"
    dmp.push_to_hub(run[0] / "patch.safetensors", "someone/digits", run=run[0], folder=out)
    dmp.push_to_hub(folder / "patch.safetensors", "someone/digits", run=folder, folder=out)
    assert names(out) == {"patch.safetensors", "README.md"}
    (folder / "figures" / "samples.png").write_text("no picture")
    with pytest.raises(dmp.UserError, match=r"samples\.png is no picture"):
        dmp.push_to_hub(folder / "patch.safetensors", "someone/digits", run=folder, folder=out)


def test_a_model_of_diffusers_names_its_base_and_how_to_load_it(tmp_path: Path) -> None:
    model, second = build("SD3Transformer2DModel"), build("SD3Transformer2DModel")
    hub = "models--someone--sd3/snapshots/" + "ab" * 20
    model.register_to_config(_name_or_path=f"/home/me/.cache/huggingface/hub/{hub}/transformer")
    patch = dmp.attach(model, init="normal")
    dmp.push_to_hub(patch, "me/patch", folder=tmp_path)
    front = front_matter(tmp_path)
    assert (front["base_model"], front["base_model_relation"]) == ("someone/sd3", "adapter")
    text = (tmp_path / "README.md").read_text()
    assert "/home/me" not in text
    assert f'from_pretrained("someone/sd3", revision="{"ab" * 20}")' in text
    assert 'dmp.load(pipeline.transformer, "me/patch")' in text
    assert "came without a measurement" in text
    dmp.load(second, tmp_path)
    call = call_of("SD3Transformer2DModel")
    with torch.no_grad():
        assert torch.equal(second(**call).sample, model(**call).sample)


def test_hostile_texts_are_shown_as_texts(tmp_path: Path) -> None:
    """As the file's own title, description, license and training, and as names of a class and of a repository."""
    from dmp_lightning.methods import save_patch

    patch = dmp.attach(base())
    held = {"class": HOSTILE, "config": {}, "repo": HOSTILE, "revision": HOSTILE, "weights": {}, HOSTILE: HOSTILE}
    about = {"title": HOSTILE, "description": HOSTILE, "license": HOSTILE, "method": {HOSTILE: HOSTILE}}
    training = {HOSTILE: HOSTILE, "loss_before": HOSTILE, "loss_after": 1.0, "loss_change": {"mean": "<b>"}}
    save_patch(patch.method.exported(), tmp_path / "x", held, about | {"training": training})
    dmp.push_to_hub(tmp_path / "x", "me/patch", folder=tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    front = front_matter(tmp_path / "out")
    assert front.keys() == {"library_name", "tags", "license"}
    assert card.data.license == front["license"] != "mit"
    text = card.text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text)
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)  # where Markdown is read
    assert "<" not in outside
    assert not re.search(r"(?<!\\)\[a(?<!\\)\]", outside)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^---", text, re.MULTILINE)) == 0
    for line in text.splitlines():
        if line.startswith("| ") and HOSTILE[:4] in line:
            assert len(re.findall(r"(?<!\\)\|", line)) == 3
    code = text.split("```")[1]
    assert HOSTILE[:4] not in code
    assert "FOLDER_OF_THE_BASE" in code


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"repo": "../x"}, r"repo='\.\./x' is not the name of a repository"),
        ({"repo": 'a/b") + x("'}, "is not the name of a repository"),
        ({"base_model": "x"}, "base_model='x' is not the name of a repository"),
        ({"run": "nowhere"}, "no patch at nowhere"),
    ],
)
def test_mistakes_are_told(options: dict[str, str], said: str, tmp_path: Path) -> None:
    patch = dmp.attach(base())
    with pytest.raises(dmp.UserError, match=said):
        dmp.push_to_hub(patch, **{"repo": "me/patch", "folder": tmp_path} | options)


def test_files_of_others_and_other_methods_are_refused(tmp_path: Path) -> None:
    from dmp_lightning.methods import FullFinetune, save_patch
    from dmp_lightning.methods.patches import fingerprint

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("mine")
    with pytest.raises(dmp.UserError, match=r"out holds files that dmp-lightning did not write \(README\.md\)"):
        dmp.push_to_hub(dmp.attach(base()), "me/patch", folder=tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "mine"
    about = {"method": {"_target_": "dmp_lightning.methods.FullFinetune"}}
    save_patch(FullFinetune(base()).exported(), tmp_path / "x", fingerprint(base()), about)
    with pytest.raises(dmp.UserError, match=r"is no patch that dmp\.load can attach"):
        dmp.push_to_hub(tmp_path / "x", "me/patch", folder=tmp_path / "new")


def test_the_upload_is_huggingface_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    def create(self: object, repo: str, *, private: bool | None, exist_ok: bool) -> str:
        told.update(repo=repo, private=private, exist_ok=exist_ok)
        return f"https://hub/{repo}"

    def upload(self: object, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        told.update(files=names(Path(folder_path)), repo_id=repo_id, card=ModelCard.load(folder_path / "README.md"))

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    assert dmp.push_to_hub(dmp.attach(base()), "me/patch", private=True, base_model="you/dit") == "https://hub/me/patch"
    assert (told["repo"], told["repo_id"], told["private"], told["exist_ok"]) == ("me/patch", "me/patch", True, True)
    assert told["files"] == {"patch.safetensors", "README.md"}
    assert told["card"].data.base_model == "you/dit"

    def refuse(*_: object, **__: object) -> None:
        raise OfflineModeIsEnabled("no network")

    monkeypatch.setattr(HfApi, "upload_folder", refuse)
    with pytest.raises(dmp.UserError, match=r"me/patch cannot be written \(no network\): log in with hf auth login"):
        dmp.push_to_hub(dmp.attach(base()), "me/patch")


def test_what_the_file_says_is_a_result_only_if_it_is_numbers(tmp_path: Path) -> None:
    patch = dmp.attach(base())
    change = {"mean": -0.02, "low": -0.035, "high": -0.005}
    training = {"loss_before": 0.5, "loss_after": 0.48, "loss_change": change}
    for number, (said, shown) in enumerate(
        [
            (training, True),
            (training | {"loss_after": json.loads("NaN")}, False),
            (training | {"loss_change": 1}, False),
        ]
    ):
        patch.save(tmp_path / f"{number}.safetensors", training=said)
        dmp.push_to_hub(tmp_path / f"{number}.safetensors", "me/patch", folder=tmp_path / str(number))
        text = (tmp_path / str(number) / "README.md").read_text()
        assert ("| held-out loss | 0.5 | 0.48 | −0.020 [−0.035, −0.005] |" in text) == shown
        assert ("came without a measurement" in text) != shown
