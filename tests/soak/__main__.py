"""`python -m soak`: the whole deployment under load, changes and faults; exit code 1 if one answer was wrong."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soak.changes import Changes
from soak.deployment import Site, open_site
from soak.faults import OWN_BOUND, Faults
from soak.load import LINE_ALLOWED, Load, Peak, pin_to_one_core
from soak.memory import Growth, Memory
from soak.population import Population
from soak.report import RESULTS, as_text, describe, make_document
from soak.timeline import Timeline
from soak.wire import Wire
from truth import Truth

if TYPE_CHECKING:
    from soak.operator import Operator

_OWNERS = 8
_WORKERS = 2
_PATIENCE = 10.0  # seconds: an answer that takes longer is a wrong one
_BATCH = 8
_DEAD_FROM_THE_START = 4
_CUTS_ALLOWED = 100  # connections under way to a worker that is killed


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    minutes: float
    load: float
    fault_every: float
    peak_seconds: float
    keys: int
    keep: Path | None


def main() -> int:
    """Run the soak, write results.json, and return the exit code."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        where = options.keep or Path(folder)
        with open_site(where, workers=_WORKERS, KEYSTILE_TOKEN_TTL="60s") as site:
            document = Soak(site, options).run()
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(as_text(document))
    return 1 if document["wrong"] or document["flaws"] else 0


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--load", type=float, default=0.7, help="share of the peak; default 0.7")
    parser.add_argument("--fault-every", type=float, default=60, metavar="SECONDS")
    parser.add_argument("--peak-seconds", type=float, default=10)
    parser.add_argument("--keys", type=int, default=64, help="live keys, about")
    parser.add_argument("--keep", type=Path, help="a folder for logs and data, left behind")
    return Options(**vars(parser.parse_args()))


class Soak:
    """One run at a site that was just started."""

    def __init__(self, site: Site, options: Options) -> None:
        self._options = options
        self._truth = Truth(patience=_PATIENCE, outages_need_a_cause=True)
        self._population = Population(self._truth, site.world.environment["KEYSTILE_PEPPERS"])
        owners = [site.world.add_user() for _ in range(_OWNERS)]
        self._issue(site.operator, owners)
        self._wire = Wire()
        self._load = Load(self._wire, site.ports[0], self._population)
        self._memory = Memory(site.servers[0])
        self._timeline = Timeline(self._wire)
        self._faults = Faults(site, self._truth, self._memory)
        self._changes = Changes(site, self._population, self._faults, owners)

    def run(self) -> dict[str, Any]:
        """Measure the peak, load with a share of it, break things, and return what was found."""
        pin_to_one_core()
        self._changes.start()  # so that the peak is measured with them: they cost the same machine
        try:
            with self._truth.fault("a cold start"):  # Keycloak's first answers take seconds while all starts at once
                self._load.measure_peak(self._options.peak_seconds)
            peak = self._load.measure_peak(self._options.peak_seconds)
            sys.stderr.write(f"peak: {peak.per_second:.0f}/s, generator busy {peak.generator_share:.0%} of its core\n")
            began = time.monotonic()
            self._endure(peak.per_second * self._options.load)
        finally:
            self._changes.stop()
            self._faults.stop()
        self._wire.close()
        if self._options.keep:
            self._keep(self._options.keep)
        return self._document(peak, began)

    def _issue(self, operator: Operator, owners: list[str]) -> None:
        for start in range(0, self._options.keys, _BATCH):
            batch = [owners[number % _OWNERS] for number in range(start, start + _BATCH)]
            for document in operator.issue(batch):
                self._population.add(document)
        for holder in self._population.live[:_DEAD_FROM_THE_START]:
            with self._truth.ending(holder.key, bound=OWN_BOUND):
                operator.revoke(holder.key.key_id)
            self._population.bury(holder)

    def _endure(self, rate: float) -> None:
        seconds = self._options.minutes * 60
        self._memory.begin()
        self._timeline.begin()
        self._faults.start(seconds, self._options.fault_every)

        def watch() -> None:
            self._memory.sample()
            self._timeline.tick()

        self._load.keep_up(rate, seconds, watch, self._timeline.hear)

    def _keep(self, folder: Path) -> None:
        self._timeline.write(folder / "timeline.jsonl")
        wrong = [json.dumps(describe(each, 0, self._truth.faults)) for each in self._truth.wrong]
        (folder / "wrong.jsonl").write_text("\n".join(wrong), encoding="utf-8")

    def _document(self, peak: Peak, began: float) -> dict[str, Any]:
        growth = self._memory.growth()
        return make_document(
            self._truth,
            growth,
            {"flaws": self._flaws(growth)},
            began=began,
            minutes=self._options.minutes,
            peak_per_second=round(peak.per_second),
            generator_share=round(peak.generator_share, 2),
            load_per_second=round(peak.per_second * self._options.load),
            longest_line=self._wire.longest_line,
            withheld=self._load.withheld,
            changes=dict(self._changes.done),
            unavailable=dict(self._truth.excused),
        )

    def _flaws(self, growth: list[Growth]) -> list[str]:
        cut = sum(number for (_, _, status), number in self._truth.counts.items() if status is None)
        found = [f"a revoke was refused: {why}" for why in self._changes.refused]
        if cut > _CUTS_ALLOWED:
            found.append(f"{cut} requests were cut or got no answer")
        if self._load.withheld:
            found.append(f"{self._load.withheld} requests withheld: more than {LINE_ALLOWED:g} s of them were in line")
        if not growth:
            found.append("no worker lived long enough to compare its memory")
        return found + [f"memory of {each.pid} grows" for each in growth if not each.is_flat]


if __name__ == "__main__":
    sys.exit(main())
