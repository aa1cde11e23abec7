"""Formulas in LaTeX, `$...$` and `$$...$$`, as MathML, which browsers show without any script, and a font for them."""

import re
from html import unescape
from importlib.resources import files as package_files
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
FONT = package_files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the font: formulas need one that knows how to set them, and many machines have none."""
    files.append(File.generated(config, "fonts/STIXTwoMath-Regular.ttf", abs_src_path=str(FONT)))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """The page with its formulas converted."""
    return FORMULA.sub(_mathml, html)


def _mathml(found: re.Match[str]) -> str:
    formula = unescape(found[2]).strip()
    if found[1] == "span":
        return convert(formula)
    return f'<div class="formula">{convert(formula, display="block")}</div>'
