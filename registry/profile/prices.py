"""Prices: what an hour of a device costs, from a table that the user keeps."""

from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import Field, ValidationError

from contracts.errors import InvalidInput
from contracts.model import Frozen

EXAMPLE_FILE: Final = Path(__file__).with_name("example_prices.yaml")


class PriceTable(Frozen):
    """Prices per hour by the name of a device; ``example`` when they are ours, made up to show the form."""

    currency: Annotated[str, Field(min_length=1, max_length=8)] = "USD"
    per_hour: Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(min_length=1)]
    example: bool = False

    def find(self, device: str, device_name: str) -> float | None:
        """Return the price of a device by its full name (``NVIDIA H200``), else by its kind (``cpu``, ``cuda``)."""
        for name in (device_name, device, device.partition(":")[0]):
            if name in self.per_hour:
                return self.per_hour[name]
        return None


def load_prices(file: Path | None) -> PriceTable:
    """Read a price table; without one, the example that is shipped.

    Raises:
        InvalidInput: naming what is wrong with the file.
    """
    try:
        document = yaml.safe_load((file or EXAMPLE_FILE).read_text(encoding="utf-8"))
        table = PriceTable.model_validate(document)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"prices: {file} can't be read: {error}", hint="write YAML: per_hour: {cpu: 0.05}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(
            f"prices: {'.'.join(map(str, first['loc'])) or 'the table'}: {first['msg']}",
            hint="write YAML: per_hour: {cpu: 0.05}",
        ) from None
    return table.model_copy(update={"example": file is None})


def require_price(table: PriceTable, device: str, device_name: str) -> float | None:
    """Return what an hour of the device costs; None where the example doesn't know it.

    Raises:
        InvalidInput: when the user's own table has no price for it.
    """
    price = table.find(device, device_name)
    if price is None and not table.example:
        raise InvalidInput(
            f"prices: no price for {device_name} ({device})", hint=f"add {device_name!r} or {device!r} below per_hour"
        )
    return price
