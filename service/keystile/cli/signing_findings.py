"""What `keystile doctor` says of signing keys: files that are none, that others can read, and a key that waits."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from keystile.errors import KeystileError
from keystile.findings import Finding
from keystile.signing_keys import KeyState

if TYPE_CHECKING:
    from pathlib import Path

    from keystile.assembly import Deployment
    from keystile.authority.rotation import Rotation
    from keystile.ports import KeysRead


async def findings(deployment: Deployment) -> list[Finding]:
    """Look at the folder, and at what running processes note."""
    rotation, folder = deployment.rotation, deployment.settings.signing_dir
    return [*_files(await rotation.keys.read(), folder), await _state(rotation)]


def _files(read: KeysRead, folder: Path) -> list[Finding]:
    wrong = [Finding(ok=False, what=fault, fix="mend or remove that file") for fault in read.faults]
    for path in (folder / key.name for key in read.keys):
        if _mode(path) & stat.S_IRWXO:
            what = f"everybody on this machine can read {path}"
            wrong.append(Finding(ok=False, what=what, fix=f"chmod o-rwx {path}"))
    if not wrong:
        return [Finding(ok=True, what=f"the files in {folder} are signing keys, and not everybody's to read")]
    return wrong


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:  # it went since it was read, as `purge` lets files go
        return 0


async def _state(rotation: Rotation) -> Finding:
    try:
        views = await rotation.overview()
    except KeystileError as error:
        return Finding(ok=False, what=f"nobody can tell which key signs: {error}", fix="see that the store answers")
    processes = rotation.ring.processes()
    for view in views:
        late = [process for process in processes if process not in view.loaded_by]
        if view.state is KeyState.NEXT and late:
            what = f"the next signing key {view.key.name} is not loaded by {', '.join(late)}"
            return Finding(ok=False, what=what, fix="bring that file to where they run, or stop them")
    return Finding(ok=True, what=f"{len(views)} signing keys, loaded by {len(processes)} running processes")
