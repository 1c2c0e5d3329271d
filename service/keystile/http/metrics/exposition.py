"""The exposition: a reading as Prometheus wants it told."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from keystile.http.metrics.families import FAMILIES, Family, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from keystile.http.metrics.readings import Reading


def exposition(reading: Reading) -> bytes:
    """Return the text of a scrape."""
    registry = CollectorRegistry()
    registry.register(_Told(reading))
    return generate_latest(registry)


class _Told:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterable[Metric]:
        """Return every metric there is, those without a value too."""
        for family in FAMILIES:
            of_family = {labels: value for (each, labels), value in self._reading.values.items() if each is family}
            yield _metric(family, of_family)


def _metric(family: Family, values: dict[tuple[str, ...], list[float]]) -> Metric:
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, (*counts, total) in sorted(values.items()):
            histogram.add_metric(labels, _buckets(family, counts), total)
        return histogram
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in sorted(values.items()):
        metric.add_metric(labels, value[-1])
    return metric


def _buckets(family: Family, counts: list[float]) -> list[tuple[str, float]]:
    """Return how many took no longer than each bound, as Prometheus counts: each with all before it."""
    bounds = [*map(str, family.bounds), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True))
