"""Prometheus metrics, read from the counters the authority keeps anyway: nothing is added to a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from keystile.assembly import Deployment


class DeploymentCollector:
    """Tells a scrape what one process counted; never a key id."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this moment."""
        verifications = CounterMetricFamily(
            "keystile_verifications", "Presented credentials by outcome or reason of refusal", labels=["outcome"]
        )
        for outcome, count in self._deployment.auditor.outcomes.items():
            verifications.add_metric([outcome], count)
        yield verifications
        down = GaugeMetricFamily("keystile_degraded", "1 for each dependency out of reach", labels=["dependency"])
        degraded = self._deployment.degraded()
        for dependency in self._deployment.dependencies:
            down.add_metric([dependency], float(dependency in degraded))
        yield down


def exposition(deployment: Deployment) -> bytes:
    """Return the text exposition of this process."""
    registry = CollectorRegistry()
    registry.register(DeploymentCollector(deployment))
    return generate_latest(registry)
