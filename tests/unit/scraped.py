"""A scrape, read as Prometheus reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

    from unit.served import Client


def samples_in(text: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = samples_in(text)

    @classmethod
    async def of(cls, client: Client) -> Scrape:
        """Scrape a served front."""
        answer = await client.send("GET", "/metrics")
        assert answer.status == 200
        return cls(answer.body.decode())

    def value(self, name: str, **labels: str) -> float | None:
        """Return the one value of that name and these labels, None without it."""
        found = [sample.value for sample in self.samples if (sample.name, sample.labels) == (name, labels)]
        assert len(found) <= 1, f"{name} {labels} twice"
        return found[0] if found else None
