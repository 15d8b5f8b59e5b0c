"""Services as people apply them: checked against what there is, with the first champion crowned."""

from dataclasses import dataclass

from contracts.errors import Conflict, InvalidInput, NotFound, NotPermitted
from contracts.ids import CHAMPION, VersionId, VersionRef
from contracts.specs.service import ServiceSpec
from controlplane.desks.diff import Change, compare_documents
from controlplane.store.documents import canonical, digest_of
from controlplane.store.rollouts import StoredRollout
from controlplane.store.services import Production, ServiceRevision
from controlplane.store.tokens import Role
from controlplane.stores import Stores
from registry.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service as it stands; ``rollout`` is the one in progress, ``note`` what somebody has to see to."""

    revision: ServiceRevision
    production: Production
    rollout: StoredRollout | None
    note: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What applying a spec would do: the revision before (0: none) and after it, and the champion afterwards."""

    service: str
    before: int
    after: int
    changes: tuple[Change, ...]
    champion: VersionId | None
    crowned: bool
    note: str


class ServiceDesk:
    """Applies and shows services."""

    def __init__(self, stores: Stores, catalogue: Catalogue) -> None:
        self._stores, self._catalogue = stores, catalogue

    def apply(
        self,
        spec: ServiceSpec,
        *,
        actor: str,
        reason: str,
        expected: int | None = None,
        champion: VersionRef | None = None,
        role: Role = Role.OPERATOR,
    ) -> ServiceRevision:
        """Make ``spec`` the newest revision of its service, and give a service without a champion its first one.

        That is the version named, else the one that MLflow's alias ``champion`` names; with neither the service waits
        for one, and ``show`` says so. ``expected`` is the revision that the caller has seen, 0 for none.

        Raises:
            InvalidInput: when nobody is named, or the champion is of another model.
            NotFound: when the model or the version named isn't there.
            Conflict: when another revision was applied meanwhile, or another version is the champion already.
            NotPermitted: when it takes four eyes away and ``role`` is no approver.
        """
        preview = self.preview(spec, champion=champion, role=role)
        first = str(preview.champion) if preview.crowned else None
        return self._stores.services.apply(spec, actor=actor, reason=reason, expected=expected, champion=first)

    def preview(self, spec: ServiceSpec, *, champion: VersionRef | None = None, role: Role = Role.OPERATOR) -> Preview:
        """Return what `apply` would do, and change nothing.

        Raises:
            InvalidInput, NotFound, Conflict, NotPermitted: as `apply` would.
        """
        there = self._newest(spec.service)
        if there is not None and there.spec.approval.four_eyes and not spec.approval.four_eyes:
            _require_approver(spec.service, role)
        crowned = self._stores.services.production(spec.service).champion if there is not None else None
        first = self._first_champion(spec, champion) if crowned is None else None
        if crowned is not None:
            _check_champion(spec, crowned, champion, self._catalogue)
        before = there.revision if there is not None else 0
        document = spec.model_dump(mode="json")
        is_new = there is None or there.digest != digest_of(canonical(document))
        return Preview(
            service=spec.service,
            before=before,
            after=before + 1 if is_new else before,
            changes=compare_documents(there.spec.model_dump(mode="json") if there is not None else {}, document),
            champion=VersionId.parse(crowned) if crowned is not None else first,
            crowned=first is not None,
            note="" if crowned is not None or first is not None else _no_champion(spec),
        )

    def diff(self, spec: ServiceSpec) -> tuple[Change, ...]:
        """Return what ``spec`` changes in its service as it stands; everything when there is no such service."""
        there = self._newest(spec.service)
        before = there.spec.model_dump(mode="json") if there is not None else {}
        return compare_documents(before, spec.model_dump(mode="json"))

    def list(self) -> list[ServiceView]:
        """Return all services by name."""
        living = {rollout.service: rollout for rollout in self._stores.rollouts.living()}
        known = self._stores.services.productions()
        return [self._view(production, living.get(production.service)) for production in known]

    def show(self, service: str) -> ServiceView:
        """Return one service.

        Raises:
            NotFound: when there is none of that name.
        """
        production = self._stores.services.production(service)
        living = (rollout for rollout in self._stores.rollouts.living() if rollout.service == service)
        return self._view(production, next(living, None))

    def _view(self, production: Production, rollout: StoredRollout | None) -> ServiceView:
        revision = self._stores.services.get(production.service)
        note = "" if production.champion is not None else _no_champion(revision.spec)
        return ServiceView(revision, production, rollout, note)

    def _newest(self, service: str) -> ServiceRevision | None:
        try:
            return self._stores.services.get(service)
        except NotFound:
            return None

    def _first_champion(self, spec: ServiceSpec, named: VersionRef | None) -> VersionId | None:
        if named is not None:
            if named.model != spec.model:
                raise InvalidInput(
                    f"champion: {named} is not a version of {spec.model}", hint=f"write {spec.model}@NUMBER"
                )
            return self._catalogue.get(named).id
        try:
            return self._catalogue.get(VersionRef(spec.model, alias=CHAMPION)).id
        except NotFound:
            self._catalogue.list_versions(spec.model)
            return None


def _check_champion(spec: ServiceSpec, crowned: str, named: VersionRef | None, catalogue: Catalogue) -> None:
    """Refuse a spec, or a champion named with it, that doesn't go with the version in production."""
    if VersionId.parse(crowned).model != spec.model:
        raise InvalidInput(
            f"model: {spec.service} serves {crowned}, which is not a version of {spec.model}",
            hint="apply it as a service of another name",
        )
    if named is not None and str(catalogue.get(named).id) != crowned:
        raise Conflict(
            f"champion: {spec.service} serves {crowned}, not {named}", hint=f"start a rollout of {named} instead"
        )


def _require_approver(service: str, role: Role) -> None:
    if not role.includes(Role.APPROVER):
        raise NotPermitted(
            f"approval.four_eyes: taking it away from {service} needs an approver", hint="ask one to apply the spec"
        )


def _no_champion(spec: ServiceSpec) -> str:
    return f"{spec.service} has no champion and serves nothing: apply it again and name a version of {spec.model}"
