"""The names that files may have, the folders that may be written to, and the user's cache."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from dmp_lightning.files import UNFINISHED
from dmp_lightning.user_error import UserError

COMPONENT = r"\w[\w .+=@,()-]{0,99}(?<![ .])"
"""A name that becomes one part of a path: it cannot leave its folder, and is a name on any file system."""


def component(name: object, key: str) -> str:
    """The name as it is, once it is known to be one part of a path; `key` is what the user calls it.

    Raises:
        UserError: it is not.
    """
    text = str(name)
    if not re.fullmatch(COMPONENT, text):
        raise UserError(
            f"{key}={text!r} cannot be the name of a folder: use up to 100 letters, digits, spaces and _.+=@,()-, "
            "starting with a letter, digit or _ and not ending in a space or dot."
        )
    return text


def check_free(folder: Path, is_ours: Callable[[Path], bool], remedy: str, ignored: tuple[str, ...] = ()) -> None:
    """Make sure that a folder may be written to: that it is new, empty, or ours from before.

    Hidden files do not count, nor those named in `ignored`: both are ours.

    Raises:
        UserError: it holds what is not ours; the sentence ends with the `remedy`.
    """
    if not folder.is_dir():
        return
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.name not in ignored)
    if names and not is_ours(folder):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise TakenError(
            f"{folder} holds files that dmp-lightning did not write ({', '.join(names[:3])}{more}): {remedy}"
        )


class TakenError(UserError):
    """A folder is not ours to write to: it holds files of the user's, or another process is at work in it."""


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files that a killed process left in a folder of ours and below it; links are not followed."""
    for place, _, names in os.walk(folder):
        for name in names:
            if re.fullmatch(rf".+\.[0-9a-f]{{32}}{re.escape(UNFINISHED)}", name):
                Path(place, name).unlink(missing_ok=True)


def user_cache() -> Path:
    """The folder for files derived from data without a folder: `DMP_CACHE`, else `~/.cache/dmp-lightning`."""
    return Path(os.environ.get("DMP_CACHE") or Path.home() / ".cache" / "dmp-lightning")
