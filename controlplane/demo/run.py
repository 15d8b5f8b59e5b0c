"""The main job on embedded defaults: register, serve, build, split, count, judge, decide, promote or roll back."""

import os
import shutil
import time
from pathlib import Path

from rich.console import Console

from contracts.errors import InvalidInput
from controlplane.demo.company import Company
from controlplane.demo.scenario import Scenario
from controlplane.demo.show import LiveStage, PlainStage, Result, Stage, draw_results
from controlplane.reporting import Wishes, report_week, write_report
from controlplane.server.detached import start_detached
from controlplane.server.options import ServerOptions
from controlplane.settings import Settings
from controlplane.wiring import embedded_system
from evaluation.report.week import week_of

LAST_RUN = Path(".roost/demo")
REPORT = "report.html"


def run_demo(
    scenario: Scenario,
    *,
    rate: float | None = None,
    home: Path | None = None,
    plain: bool = False,
    keep: bool = False,
) -> bool:
    """Run a scenario and show it; return whether every rollout ended as it must.

    ``rate`` in requests per second; by default what keeps the first champion busy half of the time on this machine.
    With ``keep`` everything stays up afterwards, in the background.

    Raises:
        InvalidInput: when ``home`` was used before, or a database elsewhere is asked for.
        RoostError: when a part doesn't come up.
    """
    begun_s = time.monotonic()
    console = Console(highlight=False)
    plain = plain or not console.is_terminal or bool(os.environ.get("CI"))
    stage: Stage = PlainStage(console) if plain else LiveStage(console)
    settings = Settings(_new_home(home))
    results: list[Result] = []

    def is_kept() -> bool:
        return keep and len(results) == len(scenario.cases)

    with embedded_system(settings, leave=is_kept, tell=stage.tell) as system:
        with Company(system, scenario, stage) as company, stage.live():
            company.open(rate)
            results.extend(company.play(case) for case in scenario.cases)
        console.print(draw_results(results))
        company.tell_aftermath()
    _write_report(settings, stage)
    stage.say(f"✔ {len(results)} cases in {time.monotonic() - begun_s:.0f} s")
    if keep:
        start_detached(ServerOptions(home=settings.home), stage.say)
    return all(result.as_expected for result in results)


def _new_home(home: Path | None) -> Path:
    """Return an empty folder for this run: the one asked for, or that of the last run, whose state goes away.

    Raises:
        InvalidInput: when the folder was used before, or a database elsewhere is asked for.
    """
    if "ROOST_DATABASE_URL" in os.environ:
        raise InvalidInput("ROOST_DATABASE_URL is set, and a demo has no business there", hint="unset it")
    if home is None:
        shutil.rmtree(LAST_RUN, ignore_errors=True)
        return LAST_RUN
    if home.exists() and any(home.iterdir()):
        raise InvalidInput(f"home: {home} is not empty", hint="name a new folder")
    return home


def _write_report(settings: Settings, stage: Stage) -> None:
    now_s = time.time()
    report = report_week(settings, week_of(now_s), now_s=now_s, wishes=Wishes())
    size = write_report(report, settings.home / REPORT)
    stage.say(f"✔ weekly report: {settings.home / REPORT} ({size / 1000:.0f} kB)")
    for sentence in report.sentences:
        stage.say(f"  {sentence}")
