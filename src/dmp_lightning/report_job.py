"""Reporting on a folder of runs: reading them all, comparing what can be compared, and writing the files."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig

from dmp_lightning.files import replacing

NEEDED = {"altair": "altair", "vl_convert": "vl-convert-python", "jinja2": "jinja2"}


def make_report(config: DictConfig) -> Path:
    """Write `report.html`, `report.md`, `report.csv` and `figures/` into the folder `output`, and return it.

    Raises:
        FileNotFoundError: there is no folder `dir`, or no results in it.
        ValueError: no folder is named, or packages are missing.
    """
    check_packages()
    if config.dir is None:
        raise ValueError("Name the folder of the runs: python -m dmp_lightning.report DIR")
    from dmp_lightning.reporting.records import read_folder
    from dmp_lightning.reporting.report import build_report

    folder, output = Path(config.dir), Path(config.output)
    report = build_report(read_folder(folder), str(folder))
    for name, text in report.texts():
        with replacing(output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    report.draw(output / "figures")
    for warning in report.warnings:
        print(f"warning: {warning}")
    print(f"{report.summary}: {output / 'report.html'}")
    return output


def check_packages() -> None:
    """Make sure that what draws a report is installed.

    Raises:
        ValueError: something is missing.
    """
    missing = list(_missing())
    if missing:
        raise ValueError(f"A report needs {', '.join(missing)}: pip install 'dmp-lightning[report]'")


def _missing() -> Iterator[str]:
    for module, package in NEEDED.items():
        if find_spec(module) is None:
            yield package
