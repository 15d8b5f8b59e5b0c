"""What the decisions on one rollout say of it: where it stands, what its users got, how it ended, and why."""

import json

from contracts.specs.service import ServiceSpec
from controlplane.demo.scenario import Ending, Fate
from controlplane.demo.served import Objectives, Served
from controlplane.store.ledger import Entry
from rollout.actions import NOTIFYING, ReasonCode
from rollout.observation import Observation
from rollout.phases import BEFORE_TRAFFIC, ENDED, Phase
from rollout.verdicts import Outcome

FATES = {Phase.PROMOTED: Fate.PROMOTED, Phase.ROLLED_BACK: Fate.ROLLED_BACK, Phase.ABORTED: Fate.ABORTED}
UNTOLD = {ReasonCode.PROMOTED, ReasonCode.ROLLED_BACK, ReasonCode.ENDED_BY_PERSON, ReasonCode.ABORTED}
"""What tells that something is done, and not why."""
TROUBLED_SHARE = 0.1


class Record:
    """The decisions so far.

    ``is_unseen``: both versions burned on the way, and nobody has looked yet. ``why`` is the sentence that the ending
    stands on.
    """

    def __init__(self, spec: ServiceSpec) -> None:
        self.phase, self.served = Phase.PENDING, Served()
        self.is_unseen = False
        self.why, self._told = "", ReasonCode.STARTED
        self._objectives = Objectives.of(spec)
        self._by: tuple[str, ...] = ()
        self._was_held = self._was_champion = self._was_refused = False
        self._traffic_since_s: float | None = None
        self._troubled_s = self._last_s = 0.0

    @property
    def trial_s(self) -> float:
        """How long the challenger has had traffic, in seconds."""
        return self._last_s - self._traffic_since_s if self._traffic_since_s is not None else 0.0

    @property
    def well_s(self) -> float:
        """How long the users of both versions have been served well, in seconds."""
        return self._last_s - self._troubled_s

    def add(self, entry: Entry) -> None:
        """Take the next decision in."""
        decision, seen = entry.decision, Observation.from_json(json.dumps(entry.observation))
        self.phase, code = Phase(decision["phase"]), ReasonCode(decision["reason"])
        self._was_champion |= self.phase is Phase.BAKING
        self._was_refused |= self.phase is Phase.FAILED and self._traffic_since_s is None
        self.is_unseen = code is ReasonCode.ENVIRONMENT or (self.is_unseen and self.phase is Phase.PROGRESSING)
        self._was_held |= code is ReasonCode.ENVIRONMENT
        self._objectives.count(self.served, seen)
        if self.phase not in BEFORE_TRAFFIC | ENDED | {Phase.FAILED, Phase.ABORTING}:
            self._last_s = entry.at_s
            self._traffic_since_s = entry.at_s if self._traffic_since_s is None else self._traffic_since_s
            if self._objectives.is_troubled(seen, share=TROUBLED_SHARE):
                self._troubled_s = entry.at_s
        if code is ReasonCode.PROVEN_HARM:
            proven = (verdict for verdict in decision["verdicts"] if verdict["outcome"] == Outcome.HARM.value)
            self._by = tuple(str(verdict["gate"]) for verdict in proven)
        if code in NOTIFYING and code not in UNTOLD and code is not self._told:
            self.why, self._told = str(decision["sentence"]), code

    def ending(self) -> Ending:
        """Return how it ended."""
        if self._was_refused:
            return Ending(Fate.REFUSED)
        fate = FATES.get(self.phase, Fate.FAILED)
        if fate is Fate.ROLLED_BACK and self._was_champion:
            fate = Fate.REVERTED
        by = self._by if fate in {Fate.ROLLED_BACK, Fate.REVERTED} else ()
        return Ending(fate, by, self._was_held)
