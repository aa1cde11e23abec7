"""Reporting on a folder of runs: reading them all, comparing what can be compared, and writing the files."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from dmp_lightning.files import replacing
from dmp_lightning.folders import check_free
from dmp_lightning.user_error import UserError

if TYPE_CHECKING:
    from dmp_lightning.runs.records import Records

MARK = '<p class="eyebrow">dmp-lightning · report</p>'.encode()  # in every page
NEEDED = {"altair": "altair", "vl_convert": "vl-convert-python", "jinja2": "jinja2"}


def make_report(config: DictConfig) -> Path:
    """Write `report.html`, `report.md`, `report.csv` and `figures/` into the folder `output`, and return it.

    With `wandb` the dashboard of a project is made as well, or alone where no folder is named.

    Raises:
        MissingFileError: there is no folder `dir`, or no results in it.
        UserError: no folder is named, packages are missing, or W&B cannot be used so.
    """
    check_packages()
    if config.dir is None and config.wandb is None:
        raise UserError("Name the folder of the runs: python -m dmp_lightning.report DIR")
    from dmp_lightning.runs.records import Records, read_folder

    records = Records() if config.dir is None else read_folder(config.dir)
    output = Path(config.output or Path(config.dir or ".", "report"))
    if config.dir is not None:
        check_free(output, _is_report, "choose a new or an empty folder with output=....")
        _write(records, config.dir, output)
    if config.wandb is not None:
        from dmp_lightning.commands import dashboard

        found = [run.record for run in records.runs]
        print(*dashboard.build_dashboard(config.wandb, found, output / "dashboard.json"), sep="\n")
    return output


def _write(records: "Records", title: str, output: Path) -> None:
    from dmp_lightning.reports.report import build_report
    from dmp_lightning.reports.written import draw, texts

    report = build_report(records, title)
    for name, text in texts(report):
        with replacing(output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    draw(report, output / "figures")
    for warning in report.warnings:
        print(f"warning: {warning}")
    print(f"{report.summary}: {output / 'report.html'}")


def _is_report(folder: Path) -> bool:
    """Whether a folder holds a report of ours."""
    page = folder / "report.html"
    return page.is_file() and MARK in page.read_bytes()


def check_packages() -> None:
    """Make sure that what draws a report is installed.

    Raises:
        UserError: something is missing.
    """
    missing = list(_missing())
    if missing:
        raise UserError(f"A report needs {', '.join(missing)}: pip install 'dmp-lightning[report]'")


def _missing() -> Iterator[str]:
    for module, package in NEEDED.items():
        if find_spec(module) is None:
            yield package
