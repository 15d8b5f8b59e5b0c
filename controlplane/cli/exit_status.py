"""What a command's exit status says; scripts read it before they read anything else."""

from collections.abc import Mapping
from enum import IntEnum


class ExitStatus(IntEnum):
    """How a command ended."""

    REACHED = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_PERMITTED = 4
    UNREACHABLE = 5
    INVALID_SPEC = 6
    NO_EVIDENCE = 7
    ROLLED_BACK = 10
    ABORTED = 11
    PAUSED = 12
    TIMED_OUT = 13
    INCONCLUSIVE = 14
    INTERRUPTED = 130


MEANINGS: Mapping[ExitStatus, str] = {
    ExitStatus.REACHED: "the wanted state was reached",
    ExitStatus.ERROR: "an error, a demo that ended otherwise than expected, or a version found worse",
    ExitStatus.USAGE: "wrong usage or input",
    ExitStatus.NOT_FOUND: "not found",
    ExitStatus.NOT_PERMITTED: "not permitted",
    ExitStatus.UNREACHABLE: "something that is needed doesn't answer",
    ExitStatus.INVALID_SPEC: "the spec is invalid",
    ExitStatus.NO_EVIDENCE: "a comparison or a drift check without enough evidence, or without data",
    ExitStatus.ROLLED_BACK: "rolled back, or drifted",
    ExitStatus.ABORTED: "aborted by a person or a monitor",
    ExitStatus.PAUSED: "paused or failed: it waits for a person, unless --until paused asked for that",
    ExitStatus.TIMED_OUT: "timed out, the rollout goes on",
    ExitStatus.INCONCLUSIVE: "timed out without data or proof either way",
    ExitStatus.INTERRUPTED: "interrupted",
}
