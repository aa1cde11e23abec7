"""The files of a report: a page, Markdown, CSV, and pictures."""

from collections.abc import Iterator
from pathlib import Path

from dmp_lightning.reports.chart_look import save_png
from dmp_lightning.reports.markdown import report_markdown
from dmp_lightning.reports.page import render
from dmp_lightning.reports.report import Report
from dmp_lightning.reports.spreadsheet import csv_table


def texts(report: Report) -> Iterator[tuple[str, str]]:
    """Each text file's name and content."""
    yield "report.html", render(report)
    yield "report.md", report_markdown(report)
    yield "report.csv", csv_table(report.bases, report.lines)


def draw(report: Report, folder: Path) -> None:
    """Write every plot as PNG."""
    for chart in report.charts:
        save_png(chart, folder / f"{chart.name}.png")
