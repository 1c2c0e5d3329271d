"""`make bench`: each row of the table beside what it is measured against, in one run, interleaved."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from bench import results
from bench.estate import Estate
from bench.machine import check, description
from bench.plan import ENOUGH, Plan
from bench.rows import GROUPS
from stack import StackError


def main() -> int:
    """Do what the command line says; return the exit code."""
    options = _parser().parse_args()
    if options.table:
        sys.stdout.write(results.kept_table(list(GROUPS)))
        return 0
    try:
        check()
        return _measure(options.groups or list(GROUPS), options.rounds, options.seconds)
    except StackError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"which to measure: {', '.join(GROUPS)}; default: all"
    )
    parser.add_argument("--rounds", type=int, default=ENOUGH, help=f"fewer than {ENOUGH} are a trial: nothing is kept")
    parser.add_argument("--seconds", type=int, default=2, help="of load in each round")
    parser.add_argument("--table", action="store_true", help="print the table of results.json and measure nothing")
    return parser


def _measure(groups: list[str], rounds: int, seconds: int) -> int:
    """Measure *groups* in the order of the table; those that find a wrong answer do not stop the others."""
    unknown = set(groups) - set(GROUPS)
    if unknown:
        raise StackError(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    description()  # now: somebody may commit while we measure
    measured: list[results.Row] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as name, Estate(Path(name)) as estate:
        plan = Plan(Path(name), estate, rounds, seconds)
        for group in [known for known in GROUPS if known in groups]:
            began = time.monotonic()
            try:
                rows = GROUPS[group](plan)
            except AssertionError:
                traceback.print_exc()
                failed.append(group)
                continue
            if rounds >= ENOUGH:
                results.keep(group, rows)
            measured += rows
            _say(f"{group}: {time.monotonic() - began:.0f} s\n{results.table(rows)}")
    _say(results.table(measured))
    if failed:
        sys.stderr.write(f"bench: wrong answers: {', '.join(failed)}\n")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
