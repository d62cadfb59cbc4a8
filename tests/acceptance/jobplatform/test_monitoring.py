"""Alert rules and dashboard ask for what /metrics really tells, and lead to pages that there are."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoDbBlocker

from confirmations.services import calling
from tests import promql
from tests.acceptance.jobs.web import JOBS, Web
from tests.anvil import Anvil
from tests.databases import Cluster
from tests.settled import QUEUES, settled

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).resolve().parents[3]
RULES = yaml.safe_load((ROOT / "ops/prometheus/alerts.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "ops/grafana/jobplatform.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OF_PROMETHEUS = {"up": {"job", "instance"}}  # what it adds itself

Metrics = Mapping[str, set[str]]


@pytest.fixture(scope="module")
def told(
    cluster: Cluster, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Metrics]:
    """The labels of each metric of a platform in which everything has happened once."""
    env = {"ALLOWED_HOSTS": "127.0.0.1", "CANARY_SECONDS": "1"}
    keys, broker = tmp_path_factory.mktemp("keys"), os.environ["BROKER_URL"]
    with (
        django_db_blocker.unblock(),
        Anvil(block_seconds=1) as node,
        settled(cluster, broker, node, keys, env=env) as platform,
    ):
        web = Web(platform)
        platform.relay()
        for queues in QUEUES:
            platform.worker(queues, beside=True)
        platform._start("beat", ["-m", "celery", "-A", "jobplatform", "-q", "beat"], None, None)
        assert web.call("POST", JOBS, {"kind": "no.such"}).status == 422
        platform.execute("select 1")
        platform.wait_ended([*platform.submit("test.late", 2), *platform.submit("test.silent", confirm="single")])
        calling.call("confirmation.watch", {})
        seen = "select (select count(*) from jobs_pulse) = 2 and exists (select from jobs_canary where seconds > 0)"
        platform.wait_until(lambda: platform.value(seen), "beat, relay and a canary")
        platform.wait_until(lambda: set(_labels(web)) >= NEEDED, "everything to be counted")
        yield _labels(web)


NEEDED = {
    "jobplatform_jobs_late_total",
    "jobplatform_job_wait_seconds_bucket",
    "jobplatform_canary_seconds",
    "jobplatform_transaction_gas_per_job",
}


def _labels(web: Web) -> dict[str, set[str]]:
    answer = web.call("GET", "/metrics")
    assert answer.status == 200
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found | OF_PROMETHEUS


def wrong(expression: str, told: Metrics) -> list[str]:
    """What an expression asks for that nobody tells."""
    asked = promql.asked(expression)
    missing = [name for name in asked.metrics if name not in told]
    for name, labels in asked.metrics.items():
        missing += [f"{name}: {label}" for label in labels - told.get(name, set())]
        missing += [f"{name} by {label}" for label in asked.grouped - told.get(name, set())]
    return missing


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is(rule: dict[str, Any], told: Metrics) -> None:
    assert promql.asked(rule["expr"]).metrics
    assert wrong(rule["expr"], told) == []
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert named <= set.union(*(told[name] for name in promql.asked(rule["expr"]).metrics))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_what_there_is(panel: dict[str, Any], told: Metrics) -> None:
    for target in panel["targets"]:
        assert wrong(target["expr"], told) == []
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert shown <= set.union(*(told[name] for name in promql.asked(target["expr"]).metrics))
        assert target["datasource"]["uid"] == "${datasource}"


def test_variables_and_annotations_ask_for_what_there_is(told: Metrics) -> None:
    (kind,) = [item for item in DASHBOARD["templating"]["list"] if item["type"] == "query"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", kind["definition"]).groups()  # type: ignore[union-attr]
    assert label in told[metric]
    for annotation in DASHBOARD["annotations"]["list"]:
        assert wrong(annotation["expr"], told) == []


def test_every_metric_of_ours_is_shown_or_watched(told: Metrics) -> None:
    texts = [rule["expr"] for rule in ALERTS] + [target["expr"] for panel in PANELS for target in panel["targets"]]
    used = {name for text in texts for name in promql.asked(text).metrics} | {"jobplatform_build_info"}
    ours = {re.sub(r"_(bucket|count|sum|created)\Z", "", name) for name in told if name.startswith("jobplatform_")}

    assert ours == {re.sub(r"_(bucket|count)\Z", "", name) for name in used if name.startswith("jobplatform_")}


# ------------------------------------------------------------------------------------------------ without a platform
def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"[1-9]\d*[mh]", rule["for"])
    assert rule["labels"]["severity"] in {"page", "warn"}
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in _anchors(ROOT / page)


def test_alerts_and_panels_have_names_of_their_own() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_panels_do_not_lie_on_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in DASHBOARD["panels"]):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_what_to_scrape_names_the_rules_and_the_job() -> None:
    config = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())

    assert config["rule_files"] == ["alerts.yml"]
    assert [job["job_name"] for job in config["scrape_configs"]] == ["jobplatform"]


@pytest.mark.parametrize(
    "text", ["sum(a", "a)", "a{b}", "a{b=c}", 'a{b="c"', "rate(a[5])", "a ~ b", '{b="c"}', "sum by (a) (b}"]
)
def test_what_is_no_promql_is_found(text: str) -> None:
    with pytest.raises((ValueError, StopIteration, RuntimeError)):
        promql.asked(text)


def test_names_and_labels_are_found_where_they_stand() -> None:
    found = promql.asked(
        'sum by (kind) (rate(a_total{outcome=~"x|y",kind!="z"}[5m])) / on (queue) b > 0.5 or absent(c)'
    )

    assert found.metrics == {"a_total": {"outcome", "kind"}, "b": set(), "c": set()}
    assert found.grouped == {"kind", "queue"}
    assert wrong('a{b="1"} > on (c) d', {"a": {"c"}, "d": {"c"}}) == ["a: b"]
    assert wrong("a > on (c) e", {"a": {"c"}}) == ["e", "e by c"]
