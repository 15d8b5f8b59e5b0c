"""The threads beside the server: each ends when asked to, and is waited for only so long."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

LOG = logging.getLogger("roost.server")
PATIENCE_S = 10.0
PAUSE_S = 5.0


@dataclass
class Crew:
    """Threads that run until ``stop`` is set. Work that ends with an error is told in the log and begun again."""

    pause_s: float = PAUSE_S
    stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, name: str, work: Callable[[threading.Event], None]) -> None:
        """Run ``work(stop)`` in a thread of its own."""
        thread = threading.Thread(target=self._run, args=(name, work), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def dismiss(self) -> None:
        """Ask all to stop and see them out; one that is still busy ends with the process."""
        self.stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            if thread.is_alive():
                LOG.warning("%s is still busy and ends with the process", thread.name)

    def _run(self, name: str, work: Callable[[threading.Event], None]) -> None:
        while not self.stop.is_set():
            try:
                work(self.stop)
            except Exception:
                LOG.exception("%s ended with an error and begins again", name)
                self.stop.wait(self.pause_s)
