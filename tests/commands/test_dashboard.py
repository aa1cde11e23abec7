"""A sweep's runs on W&B, offline: what they hold, and that a dashboard's every panel shows something that they hold."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from wandb_workspaces.reports.v2 import interface as reports
from wandb_workspaces.workspaces import interface as workspaces
from wandb_workspaces.workspaces import internal

from dmp_lightning.commands import dashboard
from dmp_lightning.commands.dashboard import build_dashboard
from dmp_lightning.commands.train import train
from dmp_lightning.runs.record import Results, read_results
from tests.configs import small
from tests.training.offline_run import OfflineRun, read_offline_runs

COUNTS = (4, 16)
TARGET = "me/patches"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of two runs of a sweep over the prompt count."""
    folder = tmp_path_factory.mktemp("sweep")
    for count, typed in zip(COUNTS, ("0.25", "1.0"), strict=True):
        options = ["+sweep=prompt_count", "logger=wandb_csv", f"method.prompt_count={typed}", "evaluation.shown=5"]
        train(small(folder / str(count), *options))
    return [folder / str(count) for count in COUNTS]


def held(folder: Path) -> tuple[OfflineRun, Results]:
    (run,) = read_offline_runs(folder)
    return run, read_results(folder / "results.json")


def test_runs_of_a_sweep_share_a_group_and_have_a_tag_for_each_axis(sweep: list[Path]) -> None:
    runs = [held(folder)[0] for folder in sweep]
    assert [run.group for run in runs] == ["digits-prompt_count"] * 2
    assert [run.tags for run in runs] == [[f"prompt_count={count}"] for count in COUNTS]
    assert [run.config["sweep"]["axes"] for run in runs] == [{"prompt_count": count} for count in COUNTS]


def test_metrics_have_their_step_and_the_summary_holds_the_best_and_the_last(sweep: list[Path]) -> None:
    run, _ = held(sweep[0])
    names = {name for row in run.history for name in row if name.startswith(("train/", "val/"))}
    numbers = {name for name in names if isinstance(run.column(name)[0], int | float) and name.count("/") == 1}
    assert {"train/loss", "val/loss", "val/frechet_pixels", "val/loss_difference_mean"} <= numbers
    for name in numbers:
        assert run.steps[name] == "trainer/global_step"
        assert run.summary[name] == {"min": min(run.column(name)), "last": run.column(name)[-1]}
    assert len(run.column("train/loss")) == 6


def test_no_panel_is_empty(sweep: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs, records = zip(*map(held, sweep), strict=True)
    (path,) = build_dashboard(TARGET, records, tmp_path / "dashboard.json")
    assert path in caplog.text
    assert "wandb sync" in caplog.text
    content = json.loads(Path(path).read_text())
    kinds = [panel["viewType"] for panel in panels(content["report"])]
    expected = {
        "Bar Chart": 2,
        "Scatter Plot": 2,
        "Parallel Coordinates Plot": 1,
        "Run History Line Plot": 2,
        "Media Browser": 3,
    }
    assert {kind: kinds.count(kind) for kind in kinds} == expected
    assert sorted(kinds) == sorted(panel["viewType"] for panel in panels(content["workspace"]))
    for run in runs:
        assert missing(content, run) == set()


def test_a_panel_of_what_is_not_logged_would_be_noticed(sweep: list[Path], tmp_path: Path) -> None:
    run, record = held(sweep[0])
    record.metrics["final"]["fid"] = 6.27
    other = replace(record, axes={"gate": "hard"})
    (path,) = build_dashboard(TARGET, [other], tmp_path / "dashboard.json")
    expected = {"summary val/fid.last", "summary val/fid.min", "history val/fid", "config sweep.axes.gate"}
    assert missing(json.loads(Path(path).read_text()), run) == expected


def test_where_a_key_is_configured_workspace_and_report_are_saved(
    sweep: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline = [held(folder)[0] for folder in sweep]
    sent: list[dict[str, Any]] = []

    def answer(api: object, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertView" not in query:
            return {"project": {"internalId": "1"}}
        sent.append(variables)
        project = {"id": "1", "name": "patches", "entityName": "me"}
        view = {"id": f"view{len(sent)}", "name": "view", "displayName": "", "description": "", "project": project}
        return {"upsertView": {"view": view | {"spec": json.loads(variables["spec"])}}}

    class Api:
        def runs(self, path: str) -> list[SimpleNamespace]:
            assert path == TARGET
            return [SimpleNamespace(group=run.group, config=run.config, summary=flat(run)) for run in offline]

        def projects(self, entity: str) -> list[SimpleNamespace]:
            return [SimpleNamespace(name="patches")]

    monkeypatch.setattr(dashboard, "why_offline", lambda settings: None)
    monkeypatch.setattr(wandb, "setup", lambda: SimpleNamespace(settings=SimpleNamespace(mode="online")))
    monkeypatch.setattr(wandb, "Api", Api)
    for module in (reports, internal):
        monkeypatch.setattr(module, "execute_graphql", answer)
    for module in (reports, workspaces):
        monkeypatch.setattr(module, "get_app_url", lambda api: "https://wandb.test")
    urls = build_dashboard(TARGET, [], tmp_path / "dashboard.json")
    assert [url.split("?")[0].split("--")[0] for url in urls] == [
        "https://wandb.test/me/patches",
        "https://wandb.test/me/patches/reports/Diffusion-model-patching",
    ]
    assert not list(tmp_path.iterdir())
    assert [(view["entityName"], view["projectName"]) for view in sent] == [("me", "patches")] * 2
    for view in sent:
        spec = json.loads(view["spec"])
        assert len(list(panels(spec))) == 10
        assert missing(spec, offline[0]) == set()


@pytest.mark.parametrize(
    ("target", "sentence"),
    [("patches", "wandb=patches names no project"), (TARGET, "no results of runs that it logged")],
)
def test_mistakes_are_told(target: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        build_dashboard(target, [], tmp_path / "dashboard.json")
    assert not list(tmp_path.iterdir())


def flat(run: OfflineRun) -> dict[str, Any]:
    """The summary as the server has it, where the pictures of a name are one value under it."""
    return {name.removesuffix("/_type"): value for name, value in run.summary.items()}


def panels(node: Any) -> Iterator[dict[str, Any]]:
    """Each panel anywhere in a specification."""
    if isinstance(node, dict) and "viewType" in node:
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from panels(child)


def missing(specification: Any, run: OfflineRun) -> set[str]:
    """What panels refer to, and the run does not hold."""
    return {name for panel in panels(specification) for name in references(panel) if not holds(run, name)}


def references(panel: dict[str, Any]) -> Iterator[str]:
    """What a panel shows: `history NAME`, `summary NAME`, `config PATH` or `pictures KEY`."""
    config = panel["config"]
    if "groupBy" in config:
        yield "config " + config["groupBy"].replace(".value", "", 1)
    match panel["viewType"]:
        case "Bar Chart":
            yield from (f"summary {name}" for name in config["metrics"])
        case "Run History Line Plot":
            yield from (f"history {name}" for name in [config["xAxis"], *config["metrics"]])
        case "Scatter Plot":
            yield from (accessor(config[axis]) for axis in ("xAxis", "yAxis"))
        case "Parallel Coordinates Plot":
            yield from (accessor(column["accessor"]) for column in config["columns"])
        case "Media Browser":
            yield from (f"pictures {key}" for key in config["mediaKeys"])
        case unknown:
            raise AssertionError(f"no test knows panels of {unknown}")


def accessor(text: str) -> str:
    kind, _, name = text.partition(":")
    return f"{kind} {name.replace('.value', '', 1) if kind == 'config' else name}"


def holds(run: OfflineRun, reference: str) -> bool:
    kind, name = reference.split(" ")
    match kind:
        case "history":
            return any(isinstance(value, int | float) for value in run.column(name))
        case "summary":
            metric, _, kept = name.rpartition(".")
            return isinstance(run.summary.get(metric, {}).get(kept), int | float)
        case "config":
            value: Any = run.config
            for part in name.split("."):
                value = (value or {}).get(part)
            return value is not None
        case "pictures":
            return run.summary.get(f"{name}/_type") == "images/separated" and run.summary[f"{name}/count"] > 0
    raise AssertionError(reference)
