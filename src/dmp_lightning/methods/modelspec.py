"""The `modelspec.*` keys of a patch file: what other programs show of it, and how they tell what it is for.

They follow Stability AI's model metadata standard 1.0.0 (github.com/Stability-AI/ModelSpec). We do not read them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

GIVEN = ("description", "author", "license")
"""Keys of the standard that are the user's to give, as texts in `about`; `title` is another."""


def modelspec(base: str | Mapping[str, Any] | None, about: Mapping[str, Any]) -> dict[str, str]:
    """The keys, for a patch of `base` (see `patches.base_of`) and what else the file says.

    The date is the day alone, so that a patch that is saved twice makes equal files.
    """
    said: Mapping[str, Any] = base if isinstance(base, Mapping) else {"class": "DiT"}
    method = about.get("method")
    kind = str(method.get("_target_", "") if isinstance(method, Mapping) else "").rpartition(".")[2] or "patch"
    found = {
        "sai_model_spec": "1.0.0",
        "architecture": f"{said['class']}/{kind.lower()}",
        "implementation": "dmp-lightning",
        "title": about.get("title") or about.get("name") or f"{kind} on {said.get('repo', said['class'])}",
        "date": datetime.now(UTC).date().isoformat(),
        **{name: about[name] for name in GIVEN if name in about},
    }
    if "process" in said:
        found["prediction_type"] = said["process"]["predicts"]
    return {f"modelspec.{name}": str(value).encode(errors="replace").decode() for name, value in found.items()}
