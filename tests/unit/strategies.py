"""Hypothesis strategies for what stores hold."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from keystile.records import EarlierSecret, KeyRecord, RevocationReason, Status
from keystile.restrictions import Policy

texts = st.text(st.characters(codec="utf-8"), max_size=40)
moments = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=0))
words = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=3).map(tuple)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
capabilities = st.lists(st.dictionaries(st.text(max_size=5), json_values, max_size=2), max_size=2).map(tuple)
limits = st.none() | st.integers(0, 2**53)
policies = st.builds(
    Policy,
    scopes=words,
    audiences=words,
    projects=words,
    level=words.map("".join),
    tenant=words.map("".join),
    requests_per_hour=limits,
    requests_per_day=limits,
    requests_per_month=limits,
    cost_cents_per_month=limits,
    idle_days=limits,
    allowed_ips=words,
    allowed_origins=words,
    require_tls=st.booleans(),
    allowed_endpoints=words,
    blocked_endpoints=words,
    capabilities=capabilities,
    max_tokens_per_request=limits,
    max_concurrent_requests=limits,
    may_act=words,
    act_depth=st.integers(0, 2**53),
)
hashes = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)
earlier_secrets = st.builds(
    EarlierSecret, gen=st.integers(0, 2**53), ends_at=moments, digest=hashes, digest_pepper=hashes, bcrypt=hashes
)
later_fields = st.dictionaries(st.from_regex(r"x_[a-z]{1,8}", fullmatch=True), json_values, max_size=3)


def _ended(record: KeyRecord, reason: RevocationReason | None, at: datetime) -> KeyRecord:
    return record if reason is None else record.revoked(at, reason, 0)


live_records = st.builds(
    KeyRecord,
    key_id=st.from_regex(r"[0-9a-z]{12}", fullmatch=True),
    gen=st.integers(0, 2**53),
    environment=st.sampled_from(["live", "test"]),
    name=texts,
    status=st.sampled_from([Status.ACTIVE, Status.SUSPENDED]),
    bcrypt=texts,
    digest=texts,
    digest_pepper=texts,
    stamp_pepper=texts,
    issued_by=texts,
    issued_at=moments,
    expires_at=st.none() | moments,
    jwts_from=st.integers(0, 2**53),
    earlier=st.lists(earlier_secrets, max_size=3).map(tuple),
    policy=policies,
    extra=later_fields,
)
records = st.builds(_ended, live_records, st.none() | st.sampled_from(RevocationReason), moments)
