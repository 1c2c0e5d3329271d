"""The dashboard and the alert rules against the metrics there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from keystile.authority.auditing import CHANGES
from keystile.authority.counts import OUTCOMES, Source
from keystile.http.metrics.families import FAMILIES

FOLDER = Path(__file__).parents[2] / "service/observability"
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
LABELS = {name: {*family.labels, "job", "instance"} for family in FAMILIES for name in family.samples}
LABELS |= {name: {*labels, "le"} for name, labels in LABELS.items() if name.endswith("_bucket")}
VALUES = {
    "outcome": {outcome for outcome, _ in OUTCOMES},
    "reason": {reason for _, reason in OUTCOMES},
    "source": {source.value for source in Source},
    "change": set(CHANGES.values()),
    "dependency": {"redis", "keycloak", "keycloak_writer", "keycloak_tokens", "change_log", "events"},
}


def parsed(query: str) -> Any:  # noqa: ANN401 - the parser's
    """Return the query as Prometheus would read it once Grafana has filled in its own words."""
    return promql_parser.parse(query.replace("$__rate_interval", "5m"))


def parts(query: str) -> list[Any]:
    """Return every part of a query; a range of a metric stands for the metric."""
    found: list[Any] = []
    promql_parser.walk(parsed(query), found.append)
    return [getattr(part, "vector_selector", part) for part in found]


def selectors(query: str) -> list[Any]:
    """Return what of a query names metrics."""
    return [part for part in parts(query) if isinstance(part, promql_parser.VectorSelector)]


def grouped_by(query: str) -> set[str]:
    """Return the labels by which a query adds up or joins."""
    modifiers = [part.modifier for part in parts(query) if getattr(part, "modifier", None) is not None]
    kept = [getattr(modifier, "matching", modifier) for modifier in modifiers]
    return {label for each in kept if each is not None for label in each.labels}


@pytest.mark.parametrize("query", [*QUERIES, *(rule["expr"] for rule in RULES)])
def test_queries_name_metrics_and_labels_that_exist(query: str) -> None:
    """No panel stays empty and no alert silent because of a name that nothing has."""
    named = selectors(query)
    assert named
    known: set[str] = set()
    for selector in named:
        assert selector.name in LABELS, selector.name
        known |= LABELS[selector.name]
        for matcher in selector.matchers.matchers:
            assert matcher.name in LABELS[selector.name], matcher.name
            if matcher.name in VALUES:
                assert set(matcher.value.split("|")) <= VALUES[matcher.name], matcher.value
    assert grouped_by(query) <= known


def test_every_metric_is_looked_at() -> None:
    """What nobody looks at would not have to be counted."""
    seen = {selector.name for query in [*QUERIES, *(rule["expr"] for rule in RULES)] for selector in selectors(query)}
    assert [family.name for family in FAMILIES if not seen & set(family.samples)] == []


@pytest.mark.parametrize("query", QUERIES)
def test_legends_show_labels_that_are_left(query: str) -> None:
    """A legend that names a label which the query dropped would show its own text."""
    (legend,) = {target["legendFormat"] for panel in PANELS for target in panel["targets"] if target["expr"] == query}
    assert set(re.findall(r"{{(\w+)}}", legend)) <= grouped_by(query) | ({"instance"} if "and on" in query else set())


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panels_are_questions_with_a_hint(panel: dict[str, Any]) -> None:
    """Whoever is woken up reads what a panel answers, and what its answer means."""
    assert panel["title"].endswith("?")
    assert panel["description"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert all('job=~"$job"' in str(selector) for target in panel["targets"] for selector in selectors(target["expr"]))


def test_panels_do_not_overlap() -> None:
    """The dashboard is imported as it is."""
    places = [
        (x, y)
        for at in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(places) == len(set(places))
    assert {x for x, _ in places} <= set(range(24))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_say_what_to_do(rule: dict[str, Any]) -> None:
    """An alert says what is so, what it means and what to do, and how soon."""
    assert rule["annotations"]["summary"]
    description = rule["annotations"]["description"]
    assert len(description) > 80
    assert re.search(r"\b(look|restart|keystile \w+|bring|block|run|lose)\b", description, re.IGNORECASE)
    assert rule["labels"]["severity"] in ("page", "ticket")
    left = grouped_by(rule["expr"]) or set().union(*(LABELS[each.name] for each in selectors(rule["expr"])))
    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= left


def test_alerts_have_names_of_their_own() -> None:
    """Nobody has to guess which of two fired."""
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"Keystile[A-Z]\w+", name) for name in names)
