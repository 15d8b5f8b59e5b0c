"""What the ledger keeps of a decision."""

from rollout.machine import Decision


def decision_document(decision: Decision) -> dict[str, object]:
    """Return a decision as JSON, without the state: deciding on the recorded observations gives that again."""
    return {
        "champion": decision.state.champion,
        "challenger": decision.state.challenger,
        "phase": decision.state.phase.value,
        "weight": decision.weight,
        "mirror_share": decision.mirror_share,
        "reason": decision.reason.code.value,
        "sentence": decision.reason.sentence,
        "verdicts": [verdict.to_document() for verdict in decision.verdicts],
        "actions": [{"kind": action.kind.value, "value": action.value} for action in decision.actions],
    }
