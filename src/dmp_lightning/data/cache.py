"""Where to keep what is derived from data that has no folder of its own."""

import os
from pathlib import Path


def user_cache() -> Path:
    """`DMP_CACHE` where it is set, else `~/.cache/dmp-lightning`."""
    return Path(os.environ.get("DMP_CACHE") or Path.home() / ".cache" / "dmp-lightning")
