"""What the soak found: the document of results.json, and a few lines for people."""

from __future__ import annotations

import platform
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truth import Jwt, Stranger
from truth.lives import endings_of, key_of

if TYPE_CHECKING:
    from soak.memory import Growth
    from truth import Truth, Wrong
    from truth.lives import Credential

RESULTS = Path(__file__).with_name("results.json")
_SHOWN = 20
_PRINTED = 5
_NUMBER = re.compile(r"\d+\.\d+")


def answers_by_kind(truth: Truth) -> dict[str, dict[str, int]]:
    """Return how often each credential got each status at each door."""
    table: dict[str, dict[str, int]] = {}
    for (door, kind, status), number in sorted(truth.counts.items(), key=str):
        table.setdefault(f"{kind} at {door}", {})[str(status or "cut")] = number
    return table


def describe(wrong: Wrong, began: float, faults: list[tuple[str, float, float]]) -> dict[str, Any]:
    """Return a wrong answer as a document."""
    answer = wrong.answer
    key = key_of(answer.credential)
    return {
        "why": wrong.why,
        "at": round(answer.sent - began, 3),
        "fault": next((name for name, start, end in reversed(faults) if start <= answer.received <= end), None),
        "took": round(answer.received - answer.sent, 3),
        "door": answer.door,
        "credential": answer.credential.value if isinstance(answer.credential, Stranger) else answer.kind,
        "key_id": key.key_id if key else None,
        "status": answer.status,
        "life": _life(answer.credential, began),
    }


def _life(credential: Credential, began: float) -> list[str]:
    """Return what is known of a credential: when it was made, what ended it."""
    made = (
        [f"made {credential.asked - began:.3f}..{credential.received - began:.3f}"]
        if isinstance(credential, Jwt)
        else []
    )
    return made + [
        f"{'signed out' if end.of_jwts else 'ended'} {end.asked - began:.3f}..{end.answered - began:.3f} + {end.bound}"
        for end in endings_of(credential)
    ]


def make_document(
    truth: Truth, growth: list[Growth], faults_of: dict[str, list[str]], *, began: float, **more: object
) -> dict[str, Any]:
    """Return everything worth keeping; *faults_of* lists what else was not as promised."""
    flaws = Counter(_NUMBER.sub("…", wrong.why) for wrong in truth.wrong)
    return {
        "machine": platform.platform(),
        **more,
        "answers": answers_by_kind(truth),
        "faults": [{"what": name, "at": round(start - began, 1)} for name, start, _ in truth.faults],
        "memory": [
            {
                "pid": each.pid,
                "second_quarter_mb": round(each.second_quarter / 1e6, 1),
                "last_quarter_mb": round(each.last_quarter / 1e6, 1),
                "flat": each.is_flat,
            }
            for each in growth
        ],
        "wrong": len(truth.wrong),
        "wrong_by_reason": dict(flaws.most_common(_SHOWN)),
        "first_wrong": [describe(wrong, began, truth.faults) for wrong in truth.wrong[:_SHOWN]],
        **faults_of,
    }


def as_text(document: dict[str, Any]) -> str:
    """Return the report for people."""
    lines = [
        f"peak {document['peak_per_second']}/s, asked {document['load_per_second']}/s for {document['minutes']} min",
        f"longest line: {document['longest_line']} requests",
        "answers:",
        *(
            f"  {what:24} " + ", ".join(f"{number} x {status}" for status, number in statuses.items())
            for what, statuses in document["answers"].items()
        ),
        f"changes: {document['changes']}",
        "faults: " + ", ".join(f"{each['what']} at {each['at']} s" for each in document["faults"]),
        f"503 for live keys and JWTs, by fault: {document['unavailable']}",
        *(
            f"memory of {each['pid']}: {each['second_quarter_mb']} MB, then {each['last_quarter_mb']} MB"
            + ("" if each["flat"] else "  GROWS")
            for each in document["memory"]
        ),
        f"wrong answers: {document['wrong']} {document['wrong_by_reason'] or ''}",
        *(f"  {each}" for each in document["first_wrong"][:_PRINTED]),
        *(f"not as promised: {flaw}" for flaw in document["flaws"]),
    ]
    return "\n".join(lines) + "\n"
