"""What `keystile doctor` says of configured gates: those that no key can pass, as the other settings are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.findings import Finding

if TYPE_CHECKING:
    from keystile.gates import Gate
    from keystile.settings import Settings


def findings(settings: Settings) -> list[Finding]:
    """Compare each gate with the audiences and scopes that keys may have; nothing where none is configured."""
    gates = settings.configured_gates
    wrong = [finding for name, gate in gates.items() for finding in _findings(name, gate, settings)]
    if not gates or wrong:
        return wrong
    return [Finding(ok=True, what=f"{len(gates)} configured gates: {', '.join(gates)}")]


def _findings(name: str, gate: Gate, settings: Settings) -> list[Finding]:
    wrong = []
    listed = (*settings.audiences, settings.default_audience)
    if settings.audiences and gate.audience not in listed:
        what = f"no key may be for {gate.audience}, the audience of the gate {name}: it refuses everybody"
        wrong.append(Finding(ok=False, what=what, fix="add it to KEYSTILE_AUDIENCES"))
    missing = [scope for scope in gate.scopes if settings.catalogue and scope not in settings.catalogue]
    if missing:
        what = f"no key may have {' '.join(missing)}, which the gate {name} requires: it refuses everybody"
        wrong.append(Finding(ok=False, what=what, fix="add it to KEYSTILE_SCOPES"))
    return wrong
