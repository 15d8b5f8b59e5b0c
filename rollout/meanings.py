"""What each code, phase and action means, and what to do about it: for people, in one place.

Programs match on the codes; pages, the documentation and ``roost explain`` show these sentences.
"""

import difflib

from contracts.errors import NotFound
from rollout.actions import ReasonCode
from rollout.phases import ManualKind, Phase

DECISIONS: dict[ReasonCode, str] = {
    ReasonCode.STARTED: "A rollout was asked for and begins. Nothing to do.",
    ReasonCode.WARMING: "The challenger's workers load, or draw their warm-up prompts; no user is sent there. If it "
    "stays so, read the worker's log.",
    ReasonCode.HEADROOM_WAITING: "Both versions do not fit on the fleet yet; the sentence names what has to end "
    "first. It goes on by itself then.",
    ReasonCode.HEADROOM_REDUCED: "Both versions fit only with fewer workers, and those that are left are known to "
    "carry the present traffic alone. The others come back when the rollout ends. Nothing to do.",
    ReasonCode.HEADROOM_SHARED: "Both versions fit only while the challenger draws smaller batches. It gets its "
    "full size once it owns production. Nothing to do.",
    ReasonCode.MIRRORING: "The challenger gets copies of traffic and no user sees its answers, until as many pairs as "
    "the policy asks for were compared. Wait; a larger `mirror.share` makes the next rollout quicker.",
    ReasonCode.RAISED: "The challenger's share grew: the first share, the next step, or as much as the harm budget "
    "allows now. Nothing to do.",
    ReasonCode.LOWERED: "The challenger's share fell, because what was seen allows a larger excess of bad responses "
    "than before. Harm is not proven; nothing to do.",
    ReasonCode.STEP_HOLD: "A step lasts until its time and its requests are reached. Wait, or promote the step.",
    ReasonCode.STEP_PAUSE: "The policy wants a person at this step. Look at the checks, then resume or abort.",
    ReasonCode.CAPACITY: "The challenger runs with fewer workers or smaller batches, and they can't serve more of the "
    "present traffic. It goes on when traffic falls, or memory is there and the rollout is started anew.",
    ReasonCode.AWAITING_PROOF: "The share is at its present limit and the gates named are not proven safe yet. Wait: "
    "`roost rollout plan` tells how long that takes at your traffic.",
    ReasonCode.NO_DATA: "A gate's data are missing, late or contradict themselves, so the share is held; no data is "
    "neither a pass nor a failure. Wait a little: it alarms when it lasts.",
    ReasonCode.NO_DATA_ALARM: "A gate has had no data for longer than `max_staleness`. Look whether the gateway "
    "answers, whether the scorer works, and whether the version gets requests at all.",
    ReasonCode.SAMPLE_RATIO: "The observed split contradicts the declared weights, so the split or the counting is "
    "broken and no verdict counts. Find out which, then resume: evidence begins anew.",
    ReasonCode.ENVIRONMENT: "Challenger and champion both burn, and the challenger is not proven worse: what they run "
    "in is to blame. The share goes to its minimum; mend the environment.",
    ReasonCode.UNCLEAR: "Harm is proven on the challenger, and not yet that it is worse than the champion. The share "
    "is held small, and a promotion goes back to the trial, until the two can be told apart. Wait.",
    ReasonCode.WATCH: "A check that may not roll back, or a gate that somebody overrode, found harm. The share is "
    "held; abort, or accept it and promote.",
    ReasonCode.BURN: "The last minutes burn at twice the error budget or more, too little to prove harm. The share is "
    "not raised until it is over.",
    ReasonCode.TIMEOUT_PAUSE: "Nothing was proven either way within `max_duration`. Resume for as long again, promote "
    "with an override, or abort; `roost rollout plan` tells what the policy can prove at your traffic.",
    ReasonCode.TIMEOUT_ROLLBACK: "Nothing was proven within `max_duration`, and the policy says `on_timeout: "
    "rollback`. The version is not proven bad: allow more time or traffic and try it again.",
    ReasonCode.TIMEOUT_PROMOTE: "Nothing was proven within `max_duration`, and the policy says `on_timeout: promote`. "
    "Nobody knows that the version is good; watch it.",
    ReasonCode.PROVEN_HARM: "A gate proved that the version is worse than tolerated: all traffic goes back. Read the "
    "sentence's value and limit, and mend the version.",
    ReasonCode.PROVEN_SAFE: "Every gate that can be is proven safe: promotion begins. Nothing to do.",
    ReasonCode.PAUSED: "A person, a monitor or a freeze paused the rollout; the share stays and harm still rolls it "
    "back. Resume, promote or abort.",
    ReasonCode.RESUMED: "A person let the rollout go on, or a freeze is over. If harm was proven on both versions "
    "before, evidence begins anew.",
    ReasonCode.PROMOTED_STEP: "A person sent the rollout to its next step.",
    ReasonCode.PROMOTED_ALL: "A person promoted the version; gates that were not proven safe had been overridden.",
    ReasonCode.ABORTED: "A person, a monitor or the guard ended the rollout: all traffic goes back. Its sentence says "
    "who and why.",
    ReasonCode.SHIFTING: "The version is proven and all traffic goes to it, as soon as its replicas are ready and the "
    "gateway has acknowledged. If it stays so, look at the replicas.",
    ReasonCode.MOVING_ALIAS: "All traffic is the new version's; the alias in MLflow follows. If it stays so, look at "
    "MLflow.",
    ReasonCode.BAKING: "The new version is champion and the old one is still warm; proven harm takes traffic back. "
    "Wait.",
    ReasonCode.RETIRING: "The bake is over and the old version is being stopped: from here on only a new rollout goes "
    "back.",
    ReasonCode.PROMOTED: "The rollout has ended: the version serves all traffic.",
    ReasonCode.ROLLING_BACK: "Traffic goes back to the champion, until the gateway has acknowledged. If it stays so, "
    "look at the gateway.",
    ReasonCode.ROLLED_BACK: "The rollout has ended: all traffic is the champion's again. The same bytes are refused "
    "without `--force`.",
    ReasonCode.ENDED_BY_PERSON: "The rollout has ended as a person, a monitor or the guard asked: all traffic is the "
    "champion's again. What a monitor or the guard ended is refused without `--force`, as after a rollback.",
    ReasonCode.FAILED: "A step can't be carried out (a version that can't load, an alias that can't move). Traffic "
    "stays with the last proven version; remove the cause and resume, or abort.",
}

EVENTS: dict[str, str] = {
    "burn.page": "The error budget of an objective burns so fast that somebody has to look now: over both a long and "
    "a short window. See the SLOs page; kill the version or roll back if it is to blame.",
    "burn.ticket": "The error budget burns slowly but would be gone before its window ends. Look within the day.",
    "burn.over": "A burn that was told has ended. Nothing to do.",
    "watch.harm-proven": "A version that owns production is proven harmful. While the one before is warm it comes "
    "back by itself (`watch.on_harm`); else roll out a mended version, or kill it.",
    "version.killed": "Somebody stopped a version in a service. It gets no traffic until that is lifted.",
    "version.readmitted": "Content that was rolled back may be tried again: somebody said so, and why.",
    "version.revived": "A stopped version may be served again.",
    "service.frozen": "Nothing is rolled out to the service; a rollout that went on is paused.",
    "service.thawed": "A freeze was lifted. Rollouts that it paused wait for somebody to resume them.",
    "rollout.waits-for-memory": "The challenger does not fit beside what runs. It starts by itself once others have "
    "ended; if it never can, the rollout fails: give the fleet more memory, or roll out a smaller variant.",
    "rollout.outgrown": "Traffic grew beyond what the champion carries with the workers that it has beside its "
    "challenger. Abort the rollout, or wait for its end, to give it all of them back; more memory lets both run whole.",
    "alias.moved-outside": "Somebody moved the alias `champion` in MLflow itself. It was taken back, adopted or left, "
    "as the spec's `aliases` says; ask who did it and why.",
    "service.undone": "Somebody goes back to the version that was champion before: it takes over as soon as it is "
    "ready.",
    "service.crowned": "A version took production over without a rollout: the one before was killed, or the alias was "
    "moved and adopted. The sentence says which; see whether it is right.",
    "monitor.alarm": "A monitor's metric fell below its bound, or left what it was in the four weeks before. If it is "
    "the challenger's, the spec's `action` follows; read the sentence, and look at the outputs.",
    "monitor.no-data": "A monitor can't begin: there is too little history of this version to compare with. It tries "
    "again every hour.",
}

ERRORS: dict[str, str] = {
    "input.invalid": "A value can't be accepted; nothing was changed. The message names the field, the hint the "
    "remedy.",
    "spec.invalid": "A spec has mistakes. All of them are listed, each with path, value and remedy.",
    "not-found": "The named thing doesn't exist. Look at the spelling, and at the home or server that was asked.",
    "unauthenticated": "There is no token, or it is wrong, revoked or has ended. Ask an admin for one.",
    "not-permitted": "The thing exists, and the rules in force or the phase forbid what was asked. The message says "
    "which.",
    "unavailable": "A part that is needed doesn't answer. Trying again later may work.",
    "input.too-large": "A body is larger than `limits` allow. Send less, or raise the limit in the spec.",
    "policy.denied": "A prompt policy refuses the prompt; the message holds the policy's reason.",
    "attempt.no-picture": "A worker answered with something that is no picture. Its log says more.",
    "conflict": "The state has moved on, or somebody else holds it: a stale revision, an old fence, a second rollout. "
    "Read the present state and ask again.",
    "integrity": "Bytes or records differ from what was written when they were registered. Don't serve them; find out "
    "who changed them.",
    "internal": "A fault of Roost itself, or of a model that it runs. Read the log, and report it.",
}

PHASES: dict[Phase, str] = {
    Phase.PENDING: "It was asked for; nothing was started yet.",
    Phase.WARMING: "The challenger's workers load and draw warm-up prompts, which count nowhere.",
    Phase.MIRRORING: "The challenger gets copies of traffic; users get the champion's answers.",
    Phase.PROGRESSING: "The challenger serves its share, which follows the ramp.",
    Phase.PAUSED: "The share stays until a person resumes, promotes or aborts; proven harm still rolls back.",
    Phase.PROMOTING: "The version is proven or promoted by a person: all traffic goes to it, then the alias.",
    Phase.BAKING: "It serves all traffic and the old version stays warm; proven harm takes traffic back.",
    Phase.PROMOTED: "It ended: the version serves all traffic, the old one is stopped.",
    Phase.ROLLING_BACK: "Harm was proven, or time ran out: traffic goes back to the champion.",
    Phase.ROLLED_BACK: "It ended: the champion serves all traffic, and these bytes are refused without `--force`.",
    Phase.ABORTING: "A person, a monitor or the guard ended it: traffic goes back to the champion.",
    Phase.ABORTED: "It ended as a person, a monitor or the guard asked: the champion serves all traffic.",
    Phase.FAILED: "A step can't be carried out; traffic stays with the last proven version until a person decides.",
}

ACTIONS: dict[ManualKind, str] = {
    ManualKind.PAUSE: "Keep the share as it is. Harm still rolls back.",
    ManualKind.RESUME: "Go on where it was paused, past the step that waited, or try the failed step again.",
    ManualKind.PROMOTE_STEP: "Go to the next explicit step, or from mirroring to the first share.",
    ManualKind.PROMOTE_ALL: "Begin the promotion. Gates that are not proven safe must be overridden by name before.",
    ManualKind.ABORT: "Send all traffic back and end the rollout. It comes before everything else asked at once.",
    ManualKind.OVERRIDE: "Silence gates by name: they no longer roll back or hold up a promotion, and are still shown.",
}


def meanings() -> dict[str, str]:
    """Return every code, phase and action with its meaning; where two share a word, the code's stands first."""
    found: dict[str, str] = {}
    for table in (DECISIONS, EVENTS, ERRORS, PHASES, ACTIONS):
        for name, sentence in table.items():
            found.setdefault(str(name), sentence)
    return found


def explain(code: str) -> str:
    """Return when a decision code, event code, error code, phase or action is met, and what to do.

    Raises:
        NotFound: with the nearest ones, when there is no such code.
    """
    known = meanings()
    if code in known:
        return known[code]
    near = difflib.get_close_matches(code, known, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "the reference page *Codes* lists all of them"
    raise NotFound(f"there is no code {code!r}", hint=hint)
