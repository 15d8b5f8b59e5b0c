"""The control plane's log: a line of JSON for each record, in the home; warnings and worse also on standard error."""

import json
import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

LARGEST_BYTES = 10 << 20
KEPT = 4
LOUD = ("alembic", "mlflow", "sqlalchemy", "httpx", "httpcore", "PIL", "matplotlib")


class JsonLines(logging.Formatter):
    """Time, level, logger, message, the ``data`` handed over in ``extra``, and the error if there was one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one record as JSON."""
        told = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        data = getattr(record, "data", None)
        if data:
            told["data"] = data
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


def set_up_logs(folder: Path) -> None:
    """Send everything that this process logs to ``server.log`` in a folder; libraries tell warnings alone."""
    folder.mkdir(parents=True, exist_ok=True)
    file = RotatingFileHandler(folder / "server.log", maxBytes=LARGEST_BYTES, backupCount=KEPT, encoding="utf-8")
    file.setFormatter(JsonLines())
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [file, terminal]
    root.setLevel(logging.INFO)
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)
