"""Finding a patch file: on the disk, or in a repository of the Hugging Face hub."""

import re
from pathlib import Path

from dmp_lightning.user_error import MissingFileError

PATCH = "patch.safetensors"
"""The file's name in the folder of a run, and in a repository."""
REPO = r"\w[\w.-]*/\w[\w.-]*"
WITH_REVISION = re.compile(rf"({REPO})(?:@([\w./-]+))?")


def patch_file(name: str | Path) -> Path:
    """The path of a patch file, which is fetched where it is not on the disk.

    Args:
        name: a file; a folder that holds `patch.safetensors`; or a repository of the hub that does, `USER/REPO` or
            `USER/REPO@REVISION`. What is in the hub's cache is taken from there, without the network.

    Raises:
        MissingFileError: there is no such file or repository.
    """
    path = Path(name)
    if path.is_dir():
        return path / PATCH
    repo = None if path.exists() or path.suffix == ".safetensors" else WITH_REVISION.fullmatch(str(name))
    return path if repo is None else _fetched(repo[1], repo[2])


def _fetched(repo: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download  # which most users of a patch do without
    from huggingface_hub.utils import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo, PATCH, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        pass  # it is not in the cache
    except HFValidationError as error:
        raise MissingFileError(f"There is no patch at {repo}, and no repository can have this name.") from error
    at = repo if revision is None else f"{repo}@{revision}"
    try:
        return Path(hf_hub_download(repo, PATCH, revision=revision))
    except LocalEntryNotFoundError as error:
        raise MissingFileError(
            f"There is no folder {at}, the hub's cache holds no {PATCH} of a repository {at}, and the hub cannot be "
            "reached: check the name, or go online once."
        ) from error
    except (EntryNotFoundError, HfHubHTTPError) as error:
        raise MissingFileError(
            f"There is no folder {at}, and no {PATCH} in a repository {at} of the hub that you may read: check the "
            "name and the revision, or log in with hf auth login."
        ) from error
