"""Pictures of the pages of a kept run, for README and docs: the rollback, the fleet, and the page at night."""

import argparse
import asyncio
import shutil
import sys
from pathlib import Path

from benchmarks.web import served
from controlplane.settings import Settings
from controlplane.web.sources.home import Home
from rollout.phases import Phase

LARGEST_BYTES = 300_000


def main() -> int:
    """Take the pictures; exit status 1 if one is too large to be kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--rollout", help="The rollout to be shown; otherwise the newest that was rolled back.")
    wanted = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chosen = wanted.rollout or newest_rollback(wanted.home)
    shots = {
        "ui-rollout": (f"/rollouts/{chosen}", "light", 1200),
        "ui-rollout-dark": (f"/rollouts/{chosen}", "dark", 760),
        "ui-fleet": ("/", "light", 620),
        "ui-quality": ("/quality", "light", 820),
        "ui-decisions": ("/decisions", "light", 700),
    }
    too_large = 0
    with served(wanted.home) as (url, _), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (path, scheme, height) in shots.items():
            page = browser.new_page(color_scheme=scheme, viewport={"width": 1180, "height": height})  # type: ignore[arg-type]
            page.goto(url + path)
            page.wait_for_selector("#badge[data-state=live], #badge[data-state=stale]")
            page.wait_for_timeout(300)
            file = wanted.out / f"{name}.png"
            page.screenshot(path=file)
            too_large += file.stat().st_size > LARGEST_BYTES
            print(f"{file}: {file.stat().st_size // 1000} kB")
            page.close()
        browser.close()
    return 1 if too_large else 0


def newest_rollback(folder: Path) -> str:
    """Return the rollout of a home that was rolled back last; without any, the one that began last."""
    feed = Home(Settings(folder)).feed

    async def read() -> str:
        while await feed.catch_up():
            pass
        stories = list(feed.chronicle.newest())
        return next((one for one in stories if one.last.phase is Phase.ROLLED_BACK), stories[0]).rollout_id

    return asyncio.run(read())


if __name__ == "__main__":
    sys.exit(main())
