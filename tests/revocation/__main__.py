"""`python -m revocation`: the last acceptance after each kind of end, with four processes under load.

Most revokes are made by `lifecycle.revoke` on a deployment opened for each, which is what `keystile keys revoke`
does; every tenth is made by that command itself. Exit code 1 if a promise was not kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keycloak.exceptions import KeycloakError

from revocation.cut import cut_server
from revocation.report import RESULTS, Promise, as_table, make_document
from revocation.trials import Outcome, Trial, TrialError, Trials
from revocation.watch import LOAD_PER_SECOND, PROBE_EVERY, Watch
from soak.deployment import Site, open_site
from soak.load import pin_to_one_core
from soak.operator import OperatorError
from soak.population import Holder, Population
from soak.report import describe
from soak.wire import Wire
from truth import Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PROCESSES = 4
_OWNERS = 4
_BATCH = 20  # keys issued at once, between trials
_CLI_EVERY = 10
_LOAD_KEYS = 16
_OWN, _FOREIGN = 1.0, 5.0  # seconds
_DISABLED, _DELETED, _SIGNED_OUT = "owner disabled", "owner deleted", "signed out everywhere"
_REVOKED, _CUT_REVOKED, _CUT_DISABLED = "key revoked", "key revoked, log cut", "owner disabled, log cut"
PROMISES = [
    Promise(_REVOKED, _OWN, "p99"),
    *(Promise(kind, _FOREIGN, "max") for kind in (_DISABLED, _DELETED, _SIGNED_OUT, _CUT_REVOKED, _CUT_DISABLED)),
]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    runs: int
    owner_runs: int
    cut_runs: int
    keep: Path | None


def main() -> int:
    """Make all trials, write results.json, print the table, and return the exit code."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder, open_site(options.keep or Path(folder), servers=_PROCESSES) as site:
        measurement = Measurement(site, options.keep or Path(folder))
        measurement.run(options)
        document = measurement.document()
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(as_table(document))
    kept = all(row["kept"] for row in document["rows"])
    return 0 if kept and not document["wrong"] and not document["failed"] else 1


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m revocation", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="keys to revoke")
    parser.add_argument("--owner-runs", type=int, default=20, help="owners to disable, to delete, and to sign out")
    parser.add_argument("--cut-runs", type=int, default=10, help="the same for a process without the log")
    parser.add_argument("--keep", type=Path, help="a folder for logs and data, left behind")
    return Options(**vars(parser.parse_args()))


class Measurement:
    """All trials at one site."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._folder = folder
        self._truth = Truth(patience=15, outages_need_a_cause=True)
        self._population = Population(self._truth, site.world.environment["KEYSTILE_PEPPERS"])
        self._watch = Watch(Wire(), site.ports, self._population)
        self._owners = [site.world.add_user() for _ in range(_OWNERS)]
        self._outcomes: list[Outcome] = []
        self._failed: list[str] = []
        self._began = time.monotonic()
        for document in site.operator.issue(self._owners * (_LOAD_KEYS // _OWNERS)):
            self._population.add(document)
        pin_to_one_core()

    def run(self, options: Options) -> None:
        """Make the trials, one kind after another."""
        with self._truth.fault("a cold start"):  # Keycloak's first answers take seconds while everything starts at once
            for holder in self._population.live:
                self._watch.answers(holder.verify, holder, self._site.ports)
        trials = Trials(self._watch, self._site.ports)
        for trial in self._revocations(_REVOKED, options.runs, _OWN):
            self._make(trials, trial)
        for kind in (_DISABLED, _DELETED, _SIGNED_OUT):
            for trial in self._owner_ends(kind, kind, options.owner_runs):
                self._make(trials, trial)
        self._run_without_log(options.cut_runs)

    def document(self) -> dict[str, Any]:
        """Return what was found."""
        wrong = self._truth.wrong
        return make_document(
            self._outcomes,
            PROMISES,
            processes=_PROCESSES,
            probe_every_ms=PROBE_EVERY * 1_000,
            load_per_second=LOAD_PER_SECOND,
            revoked_by_command_line=f"1 in {_CLI_EVERY}",
            wrong=len(wrong),
            wrong_by_reason=dict(Counter(each.why.split(" ")[0] for each in wrong)),
            first_wrong=[describe(each, self._began, self._truth.faults) for each in wrong[:20]],
            failed=self._failed,
        )

    def _run_without_log(self, runs: int) -> None:
        with cut_server(self._site, self._folder) as (server, wire_to_redis):
            trials = Trials(self._watch, [server.port])

            def cut() -> None:
                self._truth.faults.append(("log cut", time.monotonic(), time.monotonic() + 20))
                wire_to_redis.blackhole()

            ends = [
                *self._revocations(_CUT_REVOKED, runs, _FOREIGN),
                *self._owner_ends(_DISABLED, _CUT_DISABLED, runs),
            ]
            for trial in ends:
                self._make(trials, trial, before=cut)
                wire_to_redis.resume()
                self._watch.until(lambda: False, [], within=3)

    def _make(self, trials: Trials, trial: Trial, before: Callable[[], object] = lambda: None) -> None:
        try:
            outcome = trials.make(trial, before=before)
        except (TrialError, OperatorError, KeycloakError, AssertionError) as error:
            self._failed.append(f"{trial.kind}: {error}")
            return
        self._outcomes.append(outcome)
        lags = ", ".join(f"{door} {lag:.3f}" for door, lag in outcome.lags.items())
        sys.stderr.write(f"{outcome.kind}: {lags} (answered after {outcome.seconds_to_answer:.2f})\n")

    def _revocations(self, kind: str, runs: int, bound: float) -> Iterator[Trial]:
        for number, holder in enumerate(self._fresh(self._owners, runs)):
            by_command = number % _CLI_EVERY == _CLI_EVERY - 1
            end = self._by_command if by_command else self._site.operator.revoke
            yield Trial(kind, holder, holder.key, lambda end=end, holder=holder: end(holder.key.key_id), bound)  # type: ignore[misc]

    def _owner_ends(self, how: str, kind: str, runs: int) -> Iterator[Trial]:
        admin = self._site.world.admin
        ends: dict[str, Callable[[str], object]] = {
            _DISABLED: lambda owner_id: self._site.set_enabled(owner_id, enabled=False),
            _DELETED: admin.delete_user,
            _SIGNED_OUT: admin.user_logout,
        }
        owners = [self._site.world.add_user() for _ in range(runs)]
        signed_out = how == _SIGNED_OUT
        for holder in self._fresh(owners, runs):
            yield Trial(
                kind,
                holder,
                holder.key.owner,
                lambda owner_id=holder.owner_id: _timed(ends[how], owner_id),  # type: ignore[misc]
                _FOREIGN,
                doors=("jwt",) if signed_out else ("verify", "token", "jwt"),
                of_jwts=signed_out,
                buries=not signed_out,
            )

    def _by_command(self, key_id: str) -> float:
        self._site.world.revoke(key_id)
        return time.monotonic()

    def _fresh(self, owners: list[str], number: int) -> Iterator[Holder]:
        """Issue keys in batches, and hand them out one by one."""
        wanted = [owners[place % len(owners)] for place in range(number)]
        for start in range(0, number, _BATCH):
            for document in self._site.operator.issue(wanted[start : start + _BATCH]):
                yield self._population.add(document)


def _timed(end: Callable[[str], object], owner_id: str) -> float:
    end(owner_id)
    return time.monotonic()


if __name__ == "__main__":
    sys.exit(main())
