"""A control plane's API without a network: real stores on SQLite, a virtual clock, versions without bytes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from contracts.clock import FakeClock
from contracts.errors import NotFound
from contracts.ids import CHAMPION, VersionId, VersionRef
from contracts.rng import SeededRng
from controlplane.api.access import AccessSpec
from controlplane.api.app import PREFIX, make_api
from controlplane.api.context import ApiContext
from controlplane.loop.outlook import Outlook
from controlplane.loop.snapshot import Snapshot
from controlplane.loop.world import World
from controlplane.settings import Settings
from controlplane.store.migrate import open_store
from controlplane.store.rollouts import Step
from controlplane.store.tokens import Role, load_token_key
from controlplane.stores import Stores
from controlplane.web.sources.home import Home
from registry.catalogue import ForeignVersion, Registration, VersionPage, VersionRecord
from registry.fake_catalogue import FakeCatalogue
from rollout.machine import decide
from rollout.observation import Observation
from rollout.state import State
from serving.fleet.fake import FakeFleet
from tests.controlplane.scripted_traffic import FakeTraffic, Gateways
from tests.prepared import prepare_store

SPEC = """
service: tags
model: m
slos: {availability: {objective: 98%}}
rollout: {relative: null, steps: [{weight: 25%, hold: 1h}, {weight: 50%, hold: 1h}]}
"""
SHORT = {"actor": "test", "reason": "for a test"}


class FakeShelf(FakeCatalogue):
    """A catalogue that can be searched, one page at a time, and takes up foreign versions."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: dict[VersionId, ForeignVersion] = {}

    def search(self, model: str | None = None, *, page: str | None = None, size: int = 100) -> VersionPage:
        records = [self.get(VersionRef(v.model, number=v.number)) for v in self._records if model in {None, v.model}]
        begin = int(page or 0)
        more = begin + size < len(records)
        return VersionPage(tuple(records[begin : begin + size]), (), str(begin + size) if more else None)

    def adopt(self, version: VersionId, *, registered_by: tuple[str, ...] = ()) -> VersionRecord:
        if version not in self.foreign:
            raise NotFound(f"there is no version {version}", hint="look into MLflow")
        return self.register(version.model, Registration(Path(), registered_by=registered_by))


@dataclass
class Ground:
    """One control plane: ``app`` has the API mounted where servers mount it."""

    folder: Path
    access: AccessSpec = field(default_factory=AccessSpec)
    url: str = ""

    def __post_init__(self) -> None:
        self.clock, self.shelf = FakeClock(), FakeShelf()
        settings = Settings(self.folder)
        url = self.url or prepare_store(self.folder / "roost.db")
        self.stores = Stores.on(open_store(url, self.clock), load_token_key(settings.token_key), self.clock)
        for _ in range(3):
            self.shelf.register("m", Registration(self.folder))
        self.shelf.move_alias(VersionId("m", 1), CHAMPION, actor="test", reason="the first")
        self.home = Home(settings)
        self.fleet = FakeFleet()
        world = World(self.clock, SeededRng(5), self.shelf, self.fleet, Gateways(FakeTraffic(self.clock)))
        self.context = ApiContext(
            settings,
            self.stores,
            self.home,
            self.shelf,
            access=self.access,
            clock=self.clock,
            rng=SeededRng(3),
            outlook=Outlook(self.stores, world, Snapshot),
        )
        self.api = make_api(self.context)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as a server does that has the API mounted."""
        await self.api({**scope, "root_path": PREFIX} if scope["type"] == "http" else scope, receive, send)

    def close(self) -> None:
        self.stores.close()

    def token(self, role: Role, holder: str = "", **changed: Any) -> str:
        _, text = self.stores.tokens.create(holder or role.value, role, **{**SHORT, **changed})
        return text

    def client(
        self, role: Role | None = Role.ADMIN, *, token: str = "", address: str = "127.0.0.1", host: str = "127.0.0.1"
    ) -> TestClient:
        """Return a client with a token of a role, or without any; close it."""
        text = token or (self.token(role) if role is not None else "")
        headers = {"authorization": f"Bearer {text}"} if text else {}
        return TestClient(
            self.app,
            base_url=f"http://{host}{PREFIX}",
            headers=headers,
            client=(address, 50_000),
            raise_server_exceptions=False,
        )

    def apply(self, client: TestClient, **changed: Any) -> Any:
        return client.put("/services/tags", json={"spec": SPEC, "reason": "first", **changed})

    def start(self, client: TestClient, version: str = "m@2", **changed: Any) -> Any:
        return client.post("/rollouts", json={"service": "tags", "version": version, "reason": "faster", **changed})

    def progress(self) -> None:
        """Let the leader bring the living rollout to its first share of traffic, and write down why."""

        def change(state: State) -> State:
            seen = Observation(at_s=self.clock.now_s(), newest_telemetry_s=self.clock.now_s(), ready=True)
            return decide(self._policy(), state, seen).state

        self.clock.advance(1.0)
        self.lead(change)

    def lead(self, change: Callable[[State], State], *, is_over: bool = False) -> None:
        (row,) = self.stores.rollouts.living()
        lease = self.stores.leases.acquire("leader", "a", 1000.0)
        assert lease is not None
        state = change(State.from_json(row.state))
        decision = {"phase": state.phase.value, "weight": state.weight, "reason": state.reason.value}
        record = {
            "at_s": self.clock.now_s(),
            "rollout_id": row.id,
            "policy_digest": state.policy_digest,
            "observation": {"weight_applied": 0.0},
            "decision": {**decision, "sentence": "so it is", "champion": "m@1", "challenger": "m@2", "verdicts": []},
        }
        with self.stores.database.write() as connection:
            self.stores.rollouts.save(connection, lease, [Step(row.revision, state, is_over)])
            self.stores.ledger.write(connection, [record])
        self.stores.leases.release(lease)

    def end(self) -> None:
        """Let the living rollout be over."""
        from rollout.phases import Phase

        self.lead(lambda state: replace(state, phase=Phase.ABORTED), is_over=True)

    def _policy(self) -> Any:
        from controlplane.policies import policy_of

        return policy_of(self.stores.services.get("tags").spec)
