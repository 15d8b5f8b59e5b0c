"""The fleet: which workers run, what is kept warm, and what may be asked of either."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from contracts.ids import VersionRef
from controlplane.api.context import ApiContext, Context
from controlplane.api.documents import Body, OfferDocument, Reason, Version
from controlplane.api.parameters import DryRun, RecordId, ServiceName, SomeVersion, Why
from controlplane.api.principal import AnyOperator, Principal, Viewer
from controlplane.api.route import GuardedRoute, take_key
from controlplane.api.telling import tell_offer
from controlplane.desks.offers import Offer
from controlplane.store.fleet_wishes import FleetWish, FleetWishKind
from controlplane.store.tokens import Role
from controlplane.web.views.replicas import ReplicaView, view_replicas
from rollout.observation import Fit

router = APIRouter(route_class=GuardedRoute, tags=["serving"])
TARGET_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._@/-]{0,198}[A-Za-z0-9])?$"


class ReplicaDocument(BaseModel):
    """One replica; ``takes_traffic`` when gateways route to it. ``actions`` is empty where no fleet is supervised."""

    service: str
    version: str
    name: str
    state: str
    takes_traffic: bool
    memory_bytes: int
    in_flight: int
    message: str
    actions: list[OfferDocument]


class FleetWishDocument(BaseModel):
    """What was asked of the fleet and holds: a version kept warm until ``until_s``, or a replica being drained."""

    id: str
    kind: FleetWishKind
    version: str
    replica: str
    actor: str
    reason: str
    asked_s: float
    until_s: float | None
    ended_s: float | None


class FleetDocument(BaseModel):
    """The replicas, what was asked of them, the machine, and the gateway's routing table; null while there is none."""

    node: str
    replicas: list[ReplicaDocument]
    wishes: list[FleetWishDocument]
    routing: dict[str, Any] | None


class AskedDocument(BaseModel):
    """What was asked of the fleet, and what follows from it."""

    wishes: list[FleetWishDocument]
    effect: str


class HeadroomDocument(BaseModel):
    """What would be done about memory; ``champion`` and ``challenger`` are the workers of each while it lives."""

    fit: Fit
    sentence: str
    champion: int
    challenger: int


class WarmBody(Body):
    """A version to be loaded and kept for ``for_s`` seconds."""

    version: Version
    for_s: Annotated[float, Field(gt=0, le=7 * 86400)] = 1800.0
    reason: Reason


class DrainBody(Body):
    """What is to be drained: ``MODEL@NUMBER/REPLICA``, a replica's name where that is the only one, or the machine."""

    target: Annotated[str, Field(pattern=TARGET_PATTERN, examples=["tags@13/v13-0"])]
    reason: Reason


@router.get("/fleet")
async def show_fleet(who: Viewer, context: Context) -> FleetDocument:
    """Show every replica with what may be asked of it, what was asked, and how traffic is routed."""
    table = context.home.routing()
    seen = view_replicas(table, await context.home.workers.look())
    wishes, offers = await run_in_threadpool(_look, context, who)
    return FleetDocument(
        node=context.fleet.node,
        replicas=[_tell_replica(replica, offers.get((replica.version, replica.name))) for replica in seen],
        wishes=[_tell_wish(wish) for wish in wishes],
        routing=table.model_dump(mode="json") if table is not None else None,
    )


@router.post(
    "/fleet/warm", status_code=201, responses={200: {"model": OfferDocument}}, dependencies=[Depends(take_key)]
)
def warm_version(
    body: WarmBody, who: AnyOperator, context: Context, response: Response, *, dry_run: DryRun = False
) -> AskedDocument | OfferDocument:
    """Load a version and keep it for a while: whatever brings it into production then has no cold gap."""
    version = VersionRef.parse(body.version)
    _require(context, who, version.model)
    if dry_run:
        response.status_code = 200
        return tell_offer(context.fleet.offer_warm(context.catalogue.get(version).id, body.for_s))
    asked = context.fleet.warm(version, body.for_s, actor=who.actor, reason=body.reason)
    return AskedDocument(wishes=[_tell_wish(wish) for wish in asked.wishes], effect=asked.effect)


@router.delete("/fleet/warm/{wish}", dependencies=[Depends(take_key)])
def let_go_of_version(wish: RecordId, reason: Why, who: AnyOperator, context: Context) -> FleetWishDocument:
    """Keep a version warm no longer; one that a service needs runs on."""
    _require(context, who, context.stores.fleet_wishes.get(wish).version.model)
    return _tell_wish(context.fleet.let_go(wish, actor=who.actor, reason=reason))


@router.post(
    "/fleet/drains", status_code=202, responses={200: {"model": OfferDocument}}, dependencies=[Depends(take_key)]
)
def drain_replica(
    body: DrainBody, who: AnyOperator, context: Context, response: Response, *, dry_run: DryRun = False
) -> AskedDocument | OfferDocument:
    """Let a replica, or all of a machine, finish what it has and be replaced; refused where nothing could serve."""
    for replica in context.fleet.find(body.target):
        _require(context, who, replica.version.model)
    if dry_run:
        response.status_code = 200
        return tell_offer(context.fleet.offer(body.target))
    asked = context.fleet.drain(body.target, actor=who.actor, reason=body.reason)
    return AskedDocument(wishes=[_tell_wish(wish) for wish in asked.wishes], effect=asked.effect)


@router.get("/services/{service}/headroom", tags=["rollouts"])
def show_headroom(service: ServiceName, version: SomeVersion, who: Viewer, context: Context) -> HeadroomDocument:
    """Tell whether a version fits beside the champion, and what a rollout would do when not; nothing is started."""
    room = context.rollouts.foresee(service, VersionRef.parse(version))
    return HeadroomDocument(**{name: getattr(room, name) for name in HeadroomDocument.model_fields})


def _require(context: ApiContext, who: Principal, model: str) -> None:
    """Refuse who may not operate every service that a model serves; where it serves none, every service there is."""
    mine: list[str | None] = [
        view.revision.service for view in context.services.list() if view.revision.spec.model == model
    ]
    for service in mine or [None]:
        who.require(Role.OPERATOR, service)


def _look(context: ApiContext, who: Principal) -> tuple[list[FleetWish], dict[tuple[str, str], Offer]]:
    """Return what was asked, and what may be asked of each replica, where this control plane supervises them."""
    wishes = context.stores.fleet_wishes.open()
    if context.outlook is None:
        return wishes, {}
    offers = {}
    for replica in context.outlook.fleet().replicas:
        offer = context.fleet.offer_drain(replica, wishes)
        if not who.role.includes(Role.OPERATOR):
            offer = Offer(offer.name, allowed=False, why_not="this needs an operator", effect="")
        offers[str(replica.version), replica.name] = offer
    return wishes, offers


def _tell_replica(replica: ReplicaView, offer: Offer | None) -> ReplicaDocument:
    told = {name: getattr(replica, name) for name in ReplicaDocument.model_fields if name != "actions"}
    return ReplicaDocument(**told, actions=[tell_offer(offer)] if offer is not None else [])


def _tell_wish(wish: FleetWish) -> FleetWishDocument:
    told = {name: getattr(wish, name) for name in FleetWishDocument.model_fields}
    return FleetWishDocument(**{**told, "version": str(wish.version)})
