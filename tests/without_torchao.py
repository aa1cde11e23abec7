"""A plugin of pytest that hides torchao: old versions of diffusers do not import beside new ones of it."""

import sys

sys.modules["torchao"] = None  # type: ignore[assignment]
