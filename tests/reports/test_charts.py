"""The charts that a page holds, against the schema of Vega-Lite, which is not asked while they are made."""

import json
from typing import Any

import altair as alt
import pytest
from jsonschema import ValidationError

from dmp_lightning.reports.report import build_report
from dmp_lightning.reports.written import texts
from dmp_lightning.runs.records import read_folder
from tests.reports.made import make_runs


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    report = build_report(read_folder(make_runs(tmp_path_factory.mktemp("charts"))), "made")
    page = dict(texts(report))["report.html"]
    data = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    return [chart["spec"] for chart in json.loads(data)["charts"]]


def test_every_chart_of_a_page_is_vega_lite(specs: list[dict[str, Any]]) -> None:
    assert len(specs) == 8  # an axis and a cost twice, four lines over timesteps
    for spec in specs:
        alt.LayerChart.from_dict(spec)


def test_a_wrong_word_in_a_chart_is_found(specs: list[dict[str, Any]]) -> None:
    for spec in specs:
        layers = json.loads(json.dumps(spec["layer"]).replace('"type": "quantitative"', '"type": "quantity"'))
        with pytest.raises(ValidationError, match="quantity"):
            alt.LayerChart.from_dict(spec | {"layer": layers})
