"""Services, rollouts, outbox, tokens and audit: what was confirmed is there, and what was refused left nothing."""

import hashlib
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from contracts.clock import FakeClock
from contracts.errors import Conflict, IntegrityError, InvalidInput, NotFound, NotPermitted, Unauthenticated
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from controlplane.store.audit import Audit
from controlplane.store.database import Database
from controlplane.store.lease import Lease, Leases
from controlplane.store.migrate import open_store
from controlplane.store.outbox import MOST_ATTEMPTS, Outbox
from controlplane.store.rollouts import Rollouts, Start, Step, StoredRollout
from controlplane.store.services import Services
from controlplane.store.sql_ledger import SqlLedger
from controlplane.store.tokens import Role, Tokens, load_token_key
from rollout.machine import start
from rollout.phases import Phase
from rollout.policy import compile_policy
from rollout.state import State

KEY = b"k" * 32


def spec(objective: str = "99.5%", service: str = "tags") -> ServiceSpec:
    return load_service_spec(f"{{service: {service}, model: m, slos: {{availability: {{objective: {objective}}}}}}}")


def state(rollout_id: str = "tags-2-a", challenger: str = "m@2") -> State:
    policy = compile_policy(spec().rollout, spec().objectives())
    return start(policy, at_s=1.0, rollout_id=rollout_id, champion="m@1", challenger=challenger)


def beginning(digest: str, rollout_id: str, service: str = "tags", *, force: bool = False) -> Start:
    return Start(service, 1, digest, "salt", state(rollout_id), actor="eva", reason="", forced=force)


class Ground:
    """Stores on one database under a virtual clock, with a lease and one service."""

    def __init__(self, url: str) -> None:
        self.clock = FakeClock()
        self.database: Database = open_store(url, self.clock)
        self.services, self.audit = Services(self.database), Audit(self.database)
        self.leases = Leases(self.database, FakeClock())
        self.rollouts = Rollouts(self.database, self.leases)
        self.outbox, self.tokens = Outbox(self.database), Tokens(self.database, KEY)

    def lead(self, holder: str = "a") -> Lease:
        lease = self.leases.acquire("leader", holder, 1000.0)
        assert lease is not None
        return lease

    def begin(self, digest: str = "d2", rollout_id: str = "tags-2-a", *, force: bool = False) -> StoredRollout:
        with self.database.write() as connection:
            return self.rollouts.start(connection, beginning(digest, rollout_id, force=force))

    def save(self, lease: Lease, *steps: Step) -> None:
        with self.database.write() as connection:
            self.rollouts.save(connection, lease, steps)


@pytest.fixture
def ground(database_url: str) -> Iterator[Ground]:
    made = Ground(database_url)
    yield made
    made.database.close()


def test_a_spec_that_is_applied_again_is_the_revision_that_is_there(ground: Ground) -> None:
    first = ground.services.apply(spec(), actor="eva", reason="begin")
    again = ground.services.apply(spec(), actor="tom", reason="again")
    assert again == first
    second = ground.services.apply(spec("99.9%"), actor="tom", reason="stricter")
    assert (second.revision, second.spec) == (2, spec("99.9%"))
    third = ground.services.apply(spec(), actor="eva", reason="back")
    assert (third.revision, third.digest) == (3, first.digest)
    assert ground.services.get("tags", 2) == second
    assert [(r.revision, r.actor, r.reason) for r in ground.services.history("tags")] == [
        (3, "eva", "back"),
        (2, "tom", "stricter"),
        (1, "eva", "begin"),
    ]
    assert [change.detail["revision"] for change in ground.audit.changes("service/tags")] == [1, 2, 3]
    assert ground.services.names() == ["tags"]


def test_an_apply_on_a_revision_that_was_not_seen_is_refused(ground: Ground) -> None:
    ground.services.apply(spec(), actor="eva", reason="begin", expected=0)
    ground.services.apply(spec("99.9%"), actor="tom", reason="stricter", expected=1)
    with pytest.raises(Conflict, match="revision 2, not 1"):
        ground.services.apply(spec("99%"), actor="eva", reason="looser", expected=1)
    with pytest.raises(InvalidInput, match="actor"):
        ground.services.apply(spec("99%"), actor="", reason="")
    with pytest.raises(NotFound):
        ground.services.get("tags", 3)
    with pytest.raises(NotFound):
        ground.services.history("nobody")
    assert ground.audit.verify() == 2


def test_a_service_has_one_living_rollout_and_generations_count_them(ground: Ground) -> None:
    ground.services.apply(spec(), actor="eva", reason="")
    lease = ground.lead()
    first = ground.begin()
    with pytest.raises(Conflict, match="rollout already"):
        ground.begin(rollout_id="tags-2-b")
    assert [rollout.id for rollout in ground.rollouts.living()] == [first.id]
    aborted = replace(state(), phase=Phase.ABORTED)
    ground.save(lease, Step(1, aborted, is_over=True))
    second = ground.begin(rollout_id="tags-2-b")
    assert (first.generation, second.generation) == (1, 2)
    assert [rollout.generation for rollout in ground.rollouts.of_service("tags")] == [2, 1]
    assert State.from_json(ground.rollouts.get(first.id).state) == aborted
    with pytest.raises(NotFound):
        ground.rollouts.get("nobody")


def test_of_two_leaders_one_writer_takes_effect(ground: Ground) -> None:
    ground.services.apply(spec(), actor="eva", reason="")
    old = ground.lead("old")
    ground.begin()
    ground.clock.advance(2000)
    new = ground.lead("new")
    ground.save(new, Step(1, replace(state(), weight=0.1)))
    for revision in (1, 2):
        with pytest.raises(Conflict, match="nothing was written"):
            ground.save(old, Step(revision, replace(state(), weight=0.9)))
    row = ground.rollouts.get("tags-2-a")
    assert (State.from_json(row.state).weight, row.revision, row.fence) == (0.1, 2, new.fence)
    with pytest.raises(Conflict):
        ground.save(new, Step(1, replace(state(), weight=0.9)))


def test_a_rolled_back_generation_never_gains_weight_again(ground: Ground) -> None:
    ground.services.apply(spec(), actor="eva", reason="")
    lease = ground.lead()
    ground.begin()
    ground.save(lease, Step(1, replace(state(), phase=Phase.ROLLED_BACK)))
    with pytest.raises(Conflict):
        ground.save(lease, Step(2, replace(state(), phase=Phase.PROGRESSING, weight=0.5)))
    ground.save(lease, Step(2, replace(state(), phase=Phase.ROLLED_BACK), is_over=True))
    with pytest.raises(Conflict):
        ground.save(lease, Step(3, replace(state(), phase=Phase.ROLLED_BACK)))
    assert ground.rollouts.living() == []


def test_a_pass_writes_all_of_its_steps_and_decisions_or_none(ground: Ground) -> None:
    for service in ("tags", "cards"):
        ground.services.apply(spec(service=service), actor="eva", reason="")
    lease, ledger = ground.lead(), SqlLedger(ground.database, "1")
    ground.begin()
    with ground.database.write() as connection:
        ground.rollouts.start(connection, beginning("d", "cards-1", "cards"))

    def make_pass(revisions: dict[str, int]) -> None:
        with ground.database.write() as connection:
            record = {"at_s": 1.0, "policy_digest": "p", "observation": {}, "decision": {}}
            ledger.write(connection, [{**record, "rollout_id": name} for name in revisions])
            ground.outbox.put(connection, key=f"k{revisions}", topic="step", document={})
            steps = [Step(number, replace(state(name), weight=0.2)) for name, number in revisions.items()]
            ground.rollouts.save(connection, lease, steps)

    with pytest.raises(Conflict):
        make_pass({"tags-2-a": 1, "cards-1": 7})
    assert ledger.verify() == 0
    assert ground.outbox.take() == []
    assert {rollout.revision for rollout in ground.rollouts.living()} == {1}
    make_pass({"tags-2-a": 1, "cards-1": 1})
    assert {rollout.revision for rollout in ground.rollouts.living()} == {2}
    assert ledger.verify() == 2


def test_content_that_was_rolled_back_is_refused_without_force(ground: Ground) -> None:
    ground.services.apply(spec(), actor="eva", reason="")
    lease = ground.lead()
    first = ground.begin()
    with ground.database.write() as connection:
        ground.rollouts.remember(connection, first, "d2", "text: 12 % wrong")
        step = Step(1, replace(state(), phase=Phase.ROLLED_BACK), is_over=True)
        ground.rollouts.save(connection, lease, [step])
    with pytest.raises(NotPermitted, match="12 % wrong"):
        ground.begin(rollout_id="again")
    assert ground.rollouts.rolled_back("tags", "d3") is None
    ground.begin(rollout_id="again", force=True)


def test_a_message_is_sent_at_least_once_and_given_up_at_last(ground: Ground) -> None:
    with ground.database.write() as connection:
        assert ground.outbox.put(connection, key="a", topic="rollback", document={"n": 1})
        assert not ground.outbox.put(connection, key="a", topic="rollback", document={"n": 2})
        ground.outbox.put(connection, key="b", topic="rollback", document={})
    first, second = ground.outbox.take()
    assert (first.key, first.document) == ("a", {"n": 1})
    assert ground.outbox.take() == [], "taken messages are another's"
    assert ground.outbox.mark_sent(first)
    ground.clock.advance(31)
    (late,) = ground.outbox.take()
    assert late.key == "b"
    assert not ground.outbox.mark_sent(second), "its sender died; the message was taken again"
    waits = []
    while ground.outbox.mark_failed(late, "refused") and not ground.outbox.given_up():
        waits.append(0.0)
        while not (taken := ground.outbox.take()):
            ground.clock.advance(10)
            waits[-1] += 10
        (late,) = taken
    assert late.attempts == MOST_ATTEMPTS
    assert waits == sorted(waits)
    assert [message.key for message in ground.outbox.given_up()] == ["b"]


def test_a_token_is_good_for_its_role_its_services_and_its_time(ground: Ground) -> None:
    token, secret = ground.tokens.create(
        "eva", Role.OPERATOR, scopes=["tags"], lifetime_s=60, actor="root", reason="on call"
    )
    assert ground.tokens.check(secret) == token
    token.require(Role.VIEWER, "tags")
    token.require(Role.OPERATOR, "tags")
    for role, service in ((Role.APPROVER, "tags"), (Role.VIEWER, "cards"), (Role.VIEWER, None)):
        with pytest.raises(NotPermitted):
            token.require(role, service)
    everywhere, _ = ground.tokens.create("ops", Role.ADMIN, actor="root", reason="")
    everywhere.require(Role.APPROVER)
    ground.clock.advance(60)
    with pytest.raises(Unauthenticated, match="expired"):
        ground.tokens.check(secret)
    assert [change.action for change in ground.audit.changes()] == ["token.create"] * 2


def test_a_wrong_or_revoked_token_is_refused(ground: Ground) -> None:
    token, secret = ground.tokens.create("eva", Role.ADMIN, actor="root", reason="")
    other, _ = ground.tokens.create("tom", Role.ADMIN, actor="root", reason="")
    swapped = secret.replace(token.id, other.id)
    for wrong in ("", "rst_", secret[:-1], secret + "a", secret[:-1] + ("a" if secret[-1] != "a" else "b"), swapped):
        with pytest.raises(Unauthenticated, match="not valid"):
            ground.tokens.check(wrong)
    with pytest.raises(Unauthenticated, match="not valid"):
        Tokens(ground.database, b"another key, of 32 bytes or more!").check(secret)
    ground.tokens.revoke(token.id, actor="root", reason="lost")
    ground.tokens.revoke(token.id, actor="root", reason="again")
    with pytest.raises(Unauthenticated, match="revoked"):
        ground.tokens.check(secret)
    with pytest.raises(NotFound):
        ground.tokens.revoke("nobody", actor="root", reason="")
    assert [change.reason for change in ground.audit.changes(f"token/{token.id}")] == ["", "lost"]


def test_the_database_holds_no_secret_that_opens_anything(ground: Ground) -> None:
    _, whole = ground.tokens.create("eva", Role.ADMIN, actor="root", reason="")
    secret = whole.split("_", 2)[2]
    with ground.database.read() as connection:
        rows = str(connection.execute(text("SELECT * FROM tokens")).all())
        rows += str(connection.execute(text("SELECT * FROM audit")).all())
    assert secret not in rows
    assert hashlib.sha256(secret.encode()).hexdigest() not in rows, "the hash is keyed"


@pytest.mark.parametrize("holder", ["guard/kill", "Monitor/x", "roost"])
def test_nobody_gets_a_token_under_a_name_of_our_own(ground: Ground, holder: str) -> None:
    with pytest.raises(InvalidInput, match="holder"):
        ground.tokens.create(holder, Role.VIEWER, actor="eva", reason="")


def test_a_scope_that_is_no_name_and_a_life_of_nothing_are_refused(ground: Ground) -> None:
    for wrong in ({"scopes": ["a b"]}, {"lifetime_s": 0}, {"lifetime_s": float("nan")}):
        with pytest.raises(InvalidInput):
            ground.tokens.create("eva", Role.VIEWER, actor="root", reason="", **wrong)
    assert ground.tokens.list() == []


def test_the_key_of_tokens_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    key = load_token_key(tmp_path / "keys" / "tokens")
    assert load_token_key(tmp_path / "keys" / "tokens") == key
    assert stat.S_IMODE((tmp_path / "keys" / "tokens").stat().st_mode) == 0o600
    (tmp_path / "keys" / "tokens").chmod(0o644)
    with pytest.raises(NotPermitted, match="others"):
        load_token_key(tmp_path / "keys" / "tokens")


def test_an_audit_record_that_was_edited_is_told(ground: Ground) -> None:
    ground.services.apply(spec(), actor="eva", reason="begin")
    with ground.database.write() as connection:
        if ground.database.dialect == "sqlite":
            connection.execute(text("DROP TRIGGER audit_no_update"))
        else:
            connection.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
        connection.execute(text("UPDATE audit SET body = replace(body, 'eva', 'tom')"))
    with pytest.raises(IntegrityError, match="audit record 0 was edited"):
        ground.audit.verify()
