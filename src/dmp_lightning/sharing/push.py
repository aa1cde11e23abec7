"""Publishing a patch on the Hugging Face hub, or writing the same files into a folder."""

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from dmp_lightning.files import replacing
from dmp_lightning.folders import check_free
from dmp_lightning.methods import DMP, read_patch
from dmp_lightning.methods.patches import PatchFile, is_patch
from dmp_lightning.patching.description import METHODS
from dmp_lightning.patching.hub import PATCH, REPO, patch_file
from dmp_lightning.patching.patch import Patch
from dmp_lightning.runs.folder import RESULTS
from dmp_lightning.runs.record import Results, read_results
from dmp_lightning.sharing.card import PICTURES, Card, model_card
from dmp_lightning.tensors import hash_tensors
from dmp_lightning.user_error import UserError

README, FIGURES = "README.md", "figures"
PNG = b"\x89PNG\r\n\x1a\n"  # how such a file begins


def push_to_hub(
    patch: Patch | str | Path,
    repo: str,
    *,
    run: str | Path | None = None,
    folder: str | Path | None = None,
    title: str | None = None,
    description: str | None = None,
    license: str | None = None,
    base_model: str | None = None,
    private: bool | None = None,
) -> str:
    """Publish a patch with a model card, and return the address of its repository.

    It is a function, not a method of `Patch`, because a patch that a command trained is a file, and can be published
    without its base in memory.

    Args:
        patch: from `attach` or `load`, or its file; a DMP or plain prompts.
        repo: `USER/REPO` on the hub. It is made where it is missing, and files of the same names are written over.
        run: folder of the run that trained this very patch; the card then shows its results and pictures.
        folder: write the files here instead, and upload nothing; the folder's path is returned.
        title, description: for the card, as plain text; None for what the file says.
        license: as the hub names it, such as `mit`; None leaves it unsaid.
        base_model: repository of the base on the hub; None for what the file says, if anything.
        private: whether a new repository is private; None for what the user's account is set to.

    Raises:
        UserError: the run is another patch's, a name is none of a repository, the folder holds files that are not
            ours, or the hub refuses.
    """
    for key, name in {"repo": repo, "base_model": base_model}.items():
        if name is not None and re.fullmatch(REPO, name) is None:
            raise UserError(f"{key}={name!r} is not the name of a repository: choose USER/NAME.")
    with TemporaryDirectory() as temporary:
        place = Path(temporary if folder is None else folder)
        check_free(place, lambda held: is_patch(held / PATCH), "choose another folder.")
        found = _write_patch(
            patch, place / PATCH, run, {"title": title, "description": description, "license": license}
        )
        record = None if run is None else _record(Path(run), found)
        pictures = [name for name in PICTURES if _copied(name, run, place)]
        card = Card(repo, title, description, license, base_model)
        with replacing(place / README) as unfinished:
            unfinished.write_text(model_card(found, record, pictures, card), encoding="utf-8")
        return str(place) if folder is not None else _upload(place, repo, private)


def _write_patch(
    patch: Patch | str | Path, path: Path, run: str | Path | None, said: dict[str, str | None]
) -> PatchFile:
    """Write the patch file: one that is there already stays as it is."""
    if isinstance(patch, Patch):
        trained = {} if run is None else read_patch(Path(run) / PATCH).about
        known = {name: trained[name] for name in ("name", "training") if name in trained}
        patch.save(path, **known, **{name: text for name, text in said.items() if text is not None})
        return read_patch(path)
    source = patch_file(patch)
    found = read_patch(source)
    settings = found.about.get("method")
    method = METHODS.get(settings.get("_target_", "") if isinstance(settings, dict) else "", DMP)
    if not (isinstance(method, type) and issubclass(method, DMP)):
        raise UserError(f"{source} is no patch that dmp.load can attach: share a DMP's, or one of prompt tuning.")
    if source.resolve() != path.resolve():
        with replacing(path) as unfinished:
            shutil.copyfile(source, unfinished)
    return found


def _record(run: Path, found: PatchFile) -> Results:
    """The record of a run, once it is known that its patch is this one.

    Raises:
        UserError: it is another, or there is no record of a training.
    """
    record = read_results(run / RESULTS)
    if hash_tensors(read_patch(run / PATCH).tensors) != hash_tensors(found.tensors):
        raise UserError(f"{run} has trained another patch than this one: name the run that measured it.")
    if "final" not in record.metrics:
        raise UserError(f"{run} is no training: name the run that trained this patch.")
    return record


def _copied(name: str, run: str | Path | None, place: Path) -> bool:
    """Whether the run has left this picture, which is copied then. One of an earlier run is removed."""
    (place / name).unlink(missing_ok=True)
    source = None if run is None else (Path(run) / FIGURES / name).resolve()
    if run is None or source is None or not source.is_file() or not source.is_relative_to(Path(run).resolve()):
        return False  # a link must not bring in another file of the user's
    content = source.read_bytes()
    if not content.startswith(PNG):
        raise UserError(f"{source} is no picture: remove it, and share the run without it.")
    with replacing(place / name) as unfinished:
        unfinished.write_bytes(content)
    return True


def _upload(place: Path, repo: str, private: bool | None) -> str:
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=place, commit_message="Add a patch of dmp-lightning")
    except Exception as error:  # of the network, of rights, or of names: its types differ between versions
        raise UserError(
            f"{repo} cannot be written ({error}): log in with hf auth login, or write to a folder with folder=…"
        ) from error
    return str(address)
