"""Kinds of jobs that the tests run in real child processes; each writes what it did into a file."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from contracts.errors import InvalidInput
from controlplane.jobs.arguments import Arguments
from controlplane.jobs.context import JobContext, Wait
from controlplane.jobs.kinds import JobKind, JobKinds


class Anything(Arguments):
    """Whatever a test hands over."""

    model_config = ConfigDict(extra="allow")


KINDS = JobKinds(
    [
        JobKind(name, f"tests.controlplane.job_kinds:{name}", queue, at_once, attempts, arguments=Anything)
        for name, queue, at_once, attempts in (
            ("add", "quick", 2, 3),
            ("count", "quick", 2, 9),
            ("nap", "naps", 2, 3),
            ("crash", "quick", 2, 2),
            ("refuse", "quick", 2, 3),
            ("approve", "quick", 2, 3),
            ("loiter", "quick", 2, 3),
            ("look", "quick", 2, 3),
        )
    ]
    + [JobKind("trusted-look", "tests.controlplane.job_kinds:look", "quick", 2, is_trusted=True)]
)


def _note(arguments: dict[str, Any], text: str) -> None:
    with Path(arguments["file"]).open("a") as file:
        file.write(f"{text}\n")


def add(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    print("to the log, not to the worker")  # noqa: T201
    return {"sum": arguments["a"] + arguments["b"], "attempt": context.attempt}


def count(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Count in recorded steps."""

    def step(number: int) -> int:
        _note(arguments, f"step {number} attempt {context.attempt}")
        time.sleep(arguments["pause_s"])
        return number * number

    results = []
    for number in range(arguments["steps"]):
        results.append(context.step(f"step-{number}", partial(step, number)))
        context.report((number + 1) / arguments["steps"], f"step {number} done")
    return {"squares": results}


def nap(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    _note(arguments, f"begin {context.job_id} {time.time()}")
    time.sleep(arguments["nap_s"])
    _note(arguments, f"end {context.job_id} {time.time()}")
    return {}


def crash(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    _note(arguments, f"attempt {context.attempt}")
    if arguments.get("hard"):
        os._exit(42)
    raise RuntimeError("the disk is made of cheese")


def refuse(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    raise InvalidInput("prompts: there are none", hint="give some")


def approve(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    context.step("prepare", lambda: _note(arguments, "prepared"))
    word = context.signal("approval")
    if word is None:
        raise Wait(signal="approval", until_s=arguments.get("until_s"))
    return word


def loiter(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    context.report(0.5, "half way")
    _note(arguments, str(os.getpid()))
    time.sleep(60)
    return {}


def look(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Tell which of our secrets this process sees."""
    return {"sees": sorted(name for name in os.environ if name.startswith("ROOST_"))}
