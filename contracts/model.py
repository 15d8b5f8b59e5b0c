"""The base of every document that crosses a wall."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable document; an unknown key is a mistake, never ignored."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64"
    )
