"""What to ask Prometheus for each service: ``telemetry.yaml`` in the home folder."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from contracts.ids import Name, VersionId
from contracts.model import Frozen
from controlplane.secret import Secret
from controlplane.settings_files import read_settings

FILE = "telemetry.yaml"
MATCHER = r'[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\\n]|\\.)*"'
SELECTOR = re.compile(
    rf"\s*(?P<metric>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{{\s*(?P<matchers>{MATCHER}(?:\s*,\s*{MATCHER})*)?\s*,?\s*\}})?\s*"
)
LONGEST_SELECTOR = 1000


def _check_selector(text: str) -> str:
    if not SELECTOR.fullmatch(text):
        raise ValueError('not a plain selector; write metric{label="value"}, without functions')
    return text


Selector = Annotated[str, Field(max_length=LONGEST_SELECTOR), AfterValidator(_check_selector)]
"""A metric with its matchers (``http_requests_total{app="tags"}``), no functions."""


class PrometheusService(Frozen):
    """Where one service's counts are.

    ``total`` selects the counter of all attempts, ``bad`` that of failed ones, which may be missing while none has
    failed. ``histogram`` selects a classic histogram by its name without suffix; latency objectives need it, with a
    bucket at exactly their threshold. ``version_label`` holds the version, written as ``version_value`` says.
    """

    total: Selector
    bad: Selector
    histogram: Selector | None = None
    version_label: Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")] = "version"
    version_value: str = "{model}@{number}"

    @model_validator(mode="after")
    def _tells_versions_apart(self) -> "PrometheusService":
        if self.version_value.count("{number}") != 1:
            raise ValueError("version_value must hold {number} once; write for example v{number}")
        return self

    def read_version(self, text: str, model: str) -> VersionId | None:
        """Return the version that a label's value names, None when it names none of ``model``."""
        before, _, after = self.version_value.replace("{model}", model).partition("{number}")
        number = text.removeprefix(before).removesuffix(after) if len(text) > len(before) + len(after) else ""
        whole = number.isascii() and number.isdigit() and not number.startswith("0") and len(number) <= 18
        return VersionId(model, int(number)) if whole and text == f"{before}{number}{after}" else None


class PrometheusTelemetry(Frozen):
    """A Prometheus server and the services whose traffic it tells of; ``token`` is sent as bearer token."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$", max_length=2000)]
    services: Annotated[dict[Name, PrometheusService], Field(min_length=1)]
    token: Secret | None = None


def load_telemetry(path: Path) -> PrometheusTelemetry | None:
    """Read ``telemetry.yaml``; None where there is none.

    Raises:
        SpecError: with every mistake found.
    """
    return read_settings(path, PrometheusTelemetry)
