"""`python -m soak`: the whole deployment under load, changes and faults; exit code 1 if one answer was wrong."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soak.changes import Changes
from soak.deployment import Site, open_site
from soak.faults import OWN_BOUND, Faults
from soak.load import Load, Peak, pin_to_one_core
from soak.memory import Memory
from soak.population import Population
from soak.report import RESULTS, as_text, describe, make_document
from soak.timeline import Timeline
from soak.wire import Wire
from truth import Truth

_OWNERS = 8
_WORKERS = 2
_PATIENCE = 10.0  # seconds: an answer that takes longer is a wrong one
_BATCH = 8
_DEAD_FROM_THE_START = 4
_LINE_ALLOWED = 3.0  # seconds of requests that wait for a connection
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
            document = _soak(site, options)
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


def _soak(site: Site, options: Options) -> dict[str, Any]:
    truth = Truth(patience=_PATIENCE, outages_need_a_cause=True)
    population = Population(truth, site.world.environment["KEYSTILE_PEPPERS"])
    owners = [site.world.add_user() for _ in range(_OWNERS)]
    for start in range(0, options.keys, _BATCH):
        batch = [owners[number % _OWNERS] for number in range(start, start + _BATCH)]
        for document in site.operator.issue(batch):
            population.add(document)
    for holder in population.live[:_DEAD_FROM_THE_START]:  # so that the peak too is measured with some refused
        with truth.ending(holder.key, bound=OWN_BOUND):
            site.operator.revoke(holder.key.key_id)
        population.bury(holder)
    pin_to_one_core()
    wire = Wire()
    load = Load(wire, site.ports[0], population)
    with truth.fault("a cold start"):  # Keycloak's first answers take seconds while everything starts at once
        load.measure_peak(options.peak_seconds / 2)
    peak = load.measure_peak(options.peak_seconds)
    sys.stdout.write(f"peak: {peak.per_second:.0f}/s, generator busy {peak.generator_share:.0%} of its core\n")
    sys.stdout.flush()
    return _endure(site, options, population, load, wire, peak, owners)


def _endure(
    site: Site, options: Options, population: Population, load: Load, wire: Wire, peak: Peak, owners: list[str]
) -> dict[str, Any]:
    truth, seconds, rate = population.truth, options.minutes * 60, peak.per_second * options.load
    memory = Memory(site.servers[0])
    faults = Faults(site, truth, memory, seconds=seconds, every=options.fault_every)
    changes = Changes(site, population, faults, owners)
    timeline = Timeline(wire)

    def watch() -> None:
        memory.sample()
        timeline.tick()

    began = time.monotonic()
    faults.start()
    changes.start()
    try:
        load.keep_up(rate, seconds, watch, timeline.hear)
    finally:
        changes.stop()
        faults.stop()
        growth = memory.growth()
        wire.close()
        if options.keep:
            timeline.write(options.keep / "timeline.jsonl")
            wrong = "".join(json.dumps(describe(each, 0, truth.faults)) + "\n" for each in truth.wrong)
            (options.keep / "wrong.jsonl").write_text(wrong, encoding="utf-8")
    return make_document(
        truth,
        growth,
        {"flaws": _flaws(changes, growth, truth) + _overload(wire, rate)},
        began=began,
        minutes=options.minutes,
        peak_per_second=round(peak.per_second),
        generator_share=round(peak.generator_share, 2),
        load_per_second=round(rate),
        longest_line=wire.longest_line,
        changes=dict(changes.done),
        unavailable=dict(truth.excused),
    )


def _flaws(changes: Changes, growth: list[Any], truth: Truth) -> list[str]:
    cut = sum(number for (_, _, status), number in truth.counts.items() if status is None)
    found = [f"a revoke was refused: {why}" for why in changes.refused]
    if cut > _CUTS_ALLOWED:
        found.append(f"{cut} requests were cut or got no answer")
    if not growth:
        found.append("no worker lived long enough to compare its memory")
    return found + [f"memory of {each.pid} grows" for each in growth if not each.is_flat]


def _overload(wire: Wire, rate: float) -> list[str]:
    seconds = wire.longest_line / rate
    return [f"the load was more than it could take: {seconds:.1f} s in line"] if seconds > _LINE_ALLOWED else []


if __name__ == "__main__":
    sys.exit(main())
