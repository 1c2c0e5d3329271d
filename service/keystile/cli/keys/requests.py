"""What the command line asks for when it makes a key, whatever will prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keystile.assembly import now
from keystile.authority.lifecycle import KeyRequest
from keystile.cli.running import operator
from keystile.restrictions import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystile.assembly import Deployment


def key_request(
    deployment: Deployment, *, owner: str, name: str, expires: str | None, test: bool, policy: Mapping[str, Any]
) -> KeyRequest:
    """Return the operator's request for a key of *owner*."""
    return KeyRequest(
        owner=owner,
        name=name,
        issued_by=operator(),
        environment="test" if test else "live",
        expires_at=deployment.expiry(expires, now()),
        policy=Policy(**policy),
    )
