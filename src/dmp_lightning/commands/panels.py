"""The panels of a W&B dashboard, and the workspace and report that hold them; all that knows wandb-workspaces."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dmp_lightning.user_error import UserError

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
except ModuleNotFoundError as error:
    raise UserError("Dashboards need a package that is not installed: pip install 'dmp-lightning[report]'") from error

from dmp_lightning.training.loggers import STEP

TITLE = "Diffusion model patching"
INTRODUCTION = (
    "Lower is better for distances, losses and differences from the base. A bar is the mean over the runs with one "
    "value of the axis, its line one standard deviation. `.last` is a metric at the end of a run, `.min` its best, "
    "which may be that of the base before training."
)
DIFFERENCE = "val/loss_difference_mean"
PICTURES = {
    "val/loss_difference": "Gains by timestep",
    "val/gates": "Gate maps",
    "val/samples": "Samples from the same noise",
}


class Group(NamedTuple):
    """The runs of one W&B group: the axes that they differ in, each with whether its values are numbers, and the names
    of what at least one of them has logged."""

    name: str
    axes: Mapping[str, bool]
    keys: frozenset[str]


def dashboard(entity: str, project: str, groups: list[Group], online: bool) -> tuple[ws.Workspace, wr.Report]:
    """A workspace with a section, and a report with a chapter, for each group and each kind of evidence.

    A set of runs that names its project asks the server for it; without, it is of the report's own.
    """
    everything: frozenset[str] = frozenset().union(*(group.keys for group in groups))
    sections = {group.name: comparison(group) for group in groups} | evidence(everything)
    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items()],
    )
    place = (entity, project) if online else ("", "")
    blocks: list[Any] = [wr.TableOfContents(), wr.MarkdownBlock(INTRODUCTION)]
    for group in groups:
        blocks.append(wr.H1(group.name))
        for name, panels in ({"Comparison": comparison(group)} | evidence(group.keys)).items():
            runs = wr.Runset(*place, name=group.name, filters=f"Group = '{group.name}'")
            blocks += [wr.H2(name), wr.PanelGrid(runsets=[runs], panels=panels)]
    return workspace, wr.Report(entity=entity, project=project, title=TITLE, blocks=blocks, width="fluid")


def comparison(group: Group) -> list[Any]:
    """Metrics by the value of each axis, all axes and metrics at once, and the course of training."""
    metrics = [metric for metric in sorted(group.keys) if _is_distance(metric)] + sorted({DIFFERENCE} & group.keys)
    panels: list[Any] = []
    for metric in metrics:
        final = wr.SummaryMetric(f"{metric}.last")
        for axis, numeric in group.axes.items():
            title = f"{_label(metric)} by {axis}"
            panels.append(
                wr.BarPlot(title=title, metrics=[final.name], orientation="v", layout=_wide(), **_grouped(axis))
            )
            if numeric:
                panels.append(wr.ScatterPlot(title=f"{title}, each run", x=_axis(axis), y=final, layout=_wide()))
        if not group.axes:
            panels.append(wr.BarPlot(title=_label(metric), metrics=[final.name], orientation="v", layout=_wide()))
    if group.axes:
        numbers = [f"{metric}.{kept}" for metric in metrics for kept in ("last", "min")]
        columns = [_axis(axis) for axis in group.axes] + [wr.SummaryMetric(name) for name in numbers]
        parallel = [wr.ParallelCoordinatesPlotColumn(metric=column) for column in columns]
        title = "Axes and metrics"
        panels.append(wr.ParallelCoordinatesPlot(title=title, columns=parallel, layout=_wide(columns=2)))
    first = next(iter(group.axes), None)
    for metric in metrics:
        title = f"{_label(metric)} over training"
        grouping = _grouped(first) if first else {}
        panels.append(wr.LinePlot(title=title, x=STEP, y=[metric], layout=_wide(), **grouping))
    return panels


def evidence(keys: frozenset[str]) -> dict[str, list[Any]]:
    """Panels of the pictures that there are."""
    return {
        name: [wr.MediaBrowser(title=key, media_keys=[key], layout=_wide())]
        for key, name in PICTURES.items()
        if key in keys
    }


def _is_distance(key: str) -> bool:
    return key == "val/fid" or (key.startswith("val/frechet_") and "_change" not in key)


def _label(metric: str) -> str:
    if metric == DIFFERENCE:
        return "Validation loss minus the base's"
    name = metric.removeprefix("val/")
    return "FID" if name == "fid" else f"Fréchet distance ({name.removeprefix('frechet_').replace('_', ' ')})"


def _axis(name: str) -> wr.Config:
    return wr.Config(f"sweep.axes.{name}")


def _grouped(axis: str) -> dict[str, Any]:
    """By the value of an axis: the mean over its runs, and their spread."""
    return {"groupby": _axis(axis), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}


def _wide(columns: int = 1) -> wr.Layout:
    """Half a report's width of 24, or all of it."""
    return wr.Layout(w=12 * columns, h=8)
