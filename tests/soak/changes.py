"""What happens to keys and owners during the soak: from issue to revocation, from sign-out to deletion."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from keycloak.exceptions import KeycloakError

from soak.faults import FOREIGN_BOUND
from soak.operator import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from soak.deployment import Site
    from soak.faults import Faults
    from soak.population import Population

_DISABLED_FOR = 9.0  # seconds
_PAUSE = 1.5  # seconds between changes
_SHORT_LIFE = 20.0  # seconds


class Changes:
    """One administrator, who does one thing after another, in a thread of its own."""

    def __init__(self, site: Site, population: Population, faults: Faults, owners: list[str]) -> None:
        self.done: Counter[str] = Counter()
        self.refused: list[str] = []
        self._site = site
        self._population = population
        self._faults = faults
        self._owners = owners
        self._wanted = len(population.live)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is under way."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        menu: list[tuple[int, Callable[[], None]]] = [
            (10, self._revoke),
            (3, self._disable_and_enable),
            (3, self._sign_out),
            (1, self._delete_owner),
        ]
        weights = [weight for weight, _ in menu]
        while not self._ending.wait(_PAUSE):
            self._bury_expired()
            few = len(self._population.live) < self._wanted
            act = self._issue if few else random.choices(menu, weights)[0][1]  # noqa: S311 - no secret
            try:
                act()
            except (OperatorError, KeycloakError) as error:
                self._note_refusal(act.__name__.strip("_"), str(error))

    def _note_refusal(self, what: str, why: str) -> None:
        self.done[f"{what} refused"] += 1
        if what == "revoke":  # no outage of one server excuses that
            self.refused.append(why)

    def _issue(self) -> None:
        owner = random.choice(self._owners)  # noqa: S311
        short = random.random() < 0.2  # noqa: S311
        for document in self._site.operator.issue([owner], expires_in=_SHORT_LIFE if short else None):
            self._population.add(document)
        self.done["issued"] += 1

    def _bury_expired(self) -> None:
        now = time.monotonic()
        expired = [holder for holder in self._population.live if holder.expires_at < now]
        self._population.bury(*expired)
        self.done["expired"] += len(expired)

    def _revoke(self) -> None:
        holder = random.choice(self._population.live)  # noqa: S311
        try:
            with self._population.truth.ending(holder.key, bound=FOREIGN_BOUND) as ending:
                asked = ending.asked
                answered = self._site.operator.revoke(holder.key.key_id)
                ending.bound = self._faults.bound(asked, answered)
        finally:
            self._population.bury(holder)
        self.done["revoked"] += 1

    def _disable_and_enable(self) -> None:
        if not self._faults.keycloak_is_calm(_DISABLED_FOR + FOREIGN_BOUND):
            return
        owner_id = random.choice(self._population.live).owner_id  # noqa: S311
        truth = self._population.truth
        with truth.ending(self._population.owner(owner_id), bound=FOREIGN_BOUND) as ending:
            self._site.set_enabled(owner_id, enabled=False)
        self._ending.wait(_DISABLED_FOR)
        with truth.resuming(ending, bound=FOREIGN_BOUND):
            self._site.set_enabled(owner_id, enabled=True)
        self.done["owners disabled and enabled"] += 1

    def _sign_out(self) -> None:
        if not self._faults.keycloak_is_calm(FOREIGN_BOUND):
            return
        owner_id = random.choice(self._population.live).owner_id  # noqa: S311
        owner = self._population.owner(owner_id)
        with self._population.truth.ending(owner, bound=FOREIGN_BOUND, of_jwts=True):
            self._site.world.admin.user_logout(owner_id)
        self.done["owners signed out"] += 1

    def _delete_owner(self) -> None:
        if not self._faults.keycloak_is_calm(FOREIGN_BOUND):
            return
        username = self._site.world.add_user("leaver")
        for document in self._site.operator.issue([username, username]):
            self._population.add(document)
        self._ending.wait(2)
        owner_id = document["owner_id"]
        with self._population.truth.ending(self._population.owner(owner_id), bound=FOREIGN_BOUND):
            self._site.world.admin.delete_user(owner_id)
        self._population.bury(*self._population.of_owner(owner_id))
        self.done["owners deleted"] += 1
