"""Adds files that the documents link to (code, READMEs of experiments) to the site, as pages.

So all links are relative and work in the repository and on the site, and a strict build finds broken ones.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<=\]\()[^)\s#:]+(?=[#)])")
AS_THEY_ARE = (".md", ".png", ".svg")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json"}
CODE = "---\nsearch: {{exclude: true}}\nhide: [toc]\n---\n# {path}\n\n~~~~~~{language} linenums=1\n{content}\n~~~~~~\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add linked files outside of docs/, and the files that these link to."""
    waiting = [f"docs/{page.src_uri}" for page in files.documentation_pages()]
    while waiting:
        path = waiting.pop()
        for target in _targets((ROOT / path).read_text(encoding="utf-8"), path) if (ROOT / path).is_file() else ():
            if files.get_file_from_path(_place(target)) is None and not target.startswith("docs/"):
                files.append(_page(target, config))
                if target.endswith(".md"):
                    waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the places of the files on the site."""
    place = page.file.src_uri
    here = place if page.file.generated_by is not None and (ROOT / place).is_file() else f"docs/{place}"

    def rewritten(link: re.Match[str]) -> str:
        target = _target(link[0], here)
        return link[0] if target is None else posixpath.relpath(_place(target), posixpath.dirname(place))

    return LINK.sub(rewritten, markdown)


def _targets(text: str, path: str) -> Iterator[str]:
    for link in LINK.findall(text):
        target = _target(link, path)
        if target is not None:
            yield target


def _target(link: str, path: str) -> str | None:
    """The file of the repository that a link in the document at `path` means, from the root on."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    if (ROOT / target).is_dir():
        target = f"{target}/README.md"
    return target if (ROOT / target).is_file() else None


def _place(target: str) -> str:
    """Where that file, or the page that shows it, is among the sources of the site."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return target if target.endswith(AS_THEY_ARE) else f"{target}.md"


def _page(target: str, config: MkDocsConfig) -> File:
    path = ROOT / target
    if target.endswith(AS_THEY_ARE):
        return File.generated(config, target, abs_src_path=str(path))
    content = path.read_text(encoding="utf-8")
    page = CODE.format(path=target, language=LANGUAGES.get(path.suffix, "text"), content=content)
    return File.generated(config, f"{target}.md", content=page)
