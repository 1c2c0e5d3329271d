"""What `keystile doctor` says of signing keys: files that are none, that others can read, and a key that waits."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from keystile.adapters.keycloak.diagnosis import Finding
from keystile.errors import KeystileError
from keystile.signing_keys import KeyState
from keystile.wiring import open_deployment, open_signing_keys

if TYPE_CHECKING:
    from keystile.authority.rotation import Rotation
    from keystile.settings import Settings


async def findings(settings: Settings) -> list[Finding]:
    """Look at the folder, and at what running processes note."""
    folder = settings.signing_dir
    if not folder.exists():
        return [Finding(ok=True, what=f"{folder} is not there yet")]
    try:
        read = await open_signing_keys(settings).read()
    except KeystileError as error:
        return [Finding(ok=False, what=str(error), fix=f"put a key into {folder}, or let a start make one")]
    wrong = [Finding(ok=False, what=fault, fix="mend or remove that file") for fault in read.faults]
    for key in read.keys:
        path = folder / key.name
        if stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO:
            wrong.append(
                Finding(ok=False, what=f"everybody on this machine can read {path}", fix=f"chmod o-rwx {path}")
            )
    return [*wrong, await _state(settings)]


async def _state(settings: Settings) -> Finding:
    try:
        async with open_deployment(settings) as deployment:
            return await _waiting(deployment.rotation)
    except KeystileError as error:
        return Finding(ok=False, what=f"nobody can tell which key signs: {error}", fix="see that the store answers")


async def _waiting(rotation: Rotation) -> Finding:
    views, processes = await rotation.overview(), rotation.ring.processes()
    for view in views:
        late = [process for process in processes if process not in view.loaded_by]
        if view.state is KeyState.NEXT and late:
            what = f"the next signing key {view.key.name} is not loaded by {', '.join(late)}"
            return Finding(ok=False, what=what, fix="bring that file to where they run, or stop them")
    return Finding(ok=True, what=f"{len(views)} signing keys, loaded by {len(processes)} running processes")
