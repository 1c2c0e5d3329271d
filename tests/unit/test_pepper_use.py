"""Which pepper can be taken away: counted over what is live."""

from __future__ import annotations

from datetime import timedelta

from keystile.authority.pepper_use import PepperUse
from keystile.cli.peppers import findings
from keystile.keys import Stamps
from keystile.peppers import Peppers
from keystile.records import KeyRecord, NewSecret, RevocationReason, Unreadable
from unit.builders import DAY, NOW, a_record, an_owner, pepper

PEPPERS = Peppers((pepper("p2"), pepper("p1"), pepper("p0", retired=True)))
NEW = NewSecret(bcrypt="b", digest="d", digest_pepper="p2", stamp_pepper="p2")


def made_under(digest: str, stamp: str, **changes: object) -> KeyRecord:
    return a_record(digest="d", digest_pepper=digest, stamp_pepper=stamp, **changes)


def removable(*records: KeyRecord) -> list[str]:
    """Return the ids of the peppers that those records let go."""
    use = PepperUse.of(an_owner(*records), NOW)
    return [each.id for each in PEPPERS.all if use.is_removable(each, PEPPERS)]


def test_digests_and_stamps_of_live_keys_are_needed() -> None:
    """Either keeps a pepper; the current one always stays."""
    assert removable() == ["p1", "p0"]
    assert removable(made_under("p2", "p2")) == ["p1", "p0"]
    assert removable(made_under("p1", "p2")) == ["p0"]
    assert removable(made_under("p2", "p0")) == ["p1"]
    assert removable(made_under("p1", "p0").suspended(0)) == []


def test_the_dead_need_none() -> None:
    """A tombstone that is no longer recognised harms nobody who may use a key."""
    dead = made_under("p1", "p1").revoked(NOW, RevocationReason.UNSPECIFIED, 0)
    assert removable(dead) == ["p1", "p0"]
    assert removable(made_under("p1", "p1", expires_at=NOW - DAY)) == ["p1", "p0"]


def test_an_old_secret_counts_until_its_grace_ends() -> None:
    """Rotated away from a pepper, a key needs it for as long as its old secret works."""
    rotated = made_under("p1", "p0").rotated(NEW, NOW + timedelta(hours=1), NOW)
    assert KeyRecord.from_text(rotated.to_text()) == rotated
    assert removable(rotated) == []
    use = PepperUse.of(an_owner(rotated), NOW)
    assert (dict(use.digests), dict(use.stamps)) == ({"p1": 1, "p2": 1}, {"p0": 1, "p2": 1})
    ended = PepperUse.of(an_owner(rotated), NOW + timedelta(hours=1))
    assert (dict(ended.digests), dict(ended.stamps)) == ({"p2": 1}, {"p2": 1})


def test_what_nobody_can_read_keeps_them_all() -> None:
    """A record of a later version, or a secret whose stamp nobody noted, may need any of them."""
    assert removable(made_under("p2", "")) == []
    use = PepperUse.of(an_owner(unreadable=(Unreadable("{}", None),)), NOW)
    assert (use.unclear, use.is_removable(PEPPERS.all[1], PEPPERS)) == (1, False)
    assert any("do not tell" in found.what for found in findings(use, PEPPERS, Stamps.ENFORCE))


def test_older_keys_are_counted_apart() -> None:
    """They have no stamp."""
    use = PepperUse.of(an_owner(a_record(older_hash="ab")), NOW)
    assert (use.older, use.unclear, dict(use.stamps)) == (1, 0, {})


def test_doctor_finds_keys_whose_pepper_is_not_set() -> None:
    """Their stamps are taken for forged, unless the deployment takes any; a digest alone leaves them to bcrypt."""
    use = PepperUse.of(an_owner(made_under("p9", "p9")), NOW) + PepperUse.of(an_owner(made_under("p8", "p2")), NOW)
    assert use.lost(PEPPERS) == ["p8", "p9"]

    def faults(stamps: Stamps) -> list[str]:
        return [found.what for found in findings(use, PEPPERS, stamps) if not found.ok]

    (fault,) = faults(Stamps.ENFORCE)
    assert "p9 is not set" in fault
    assert faults(Stamps.ADVISORY) == []
    states = {each["id"]: each["state"] for each in use.to_document(PEPPERS)["peppers"]}
    assert states == {"p2": "current", "p1": "accepted", "p0": "retired", "p8": "not set", "p9": "not set"}
