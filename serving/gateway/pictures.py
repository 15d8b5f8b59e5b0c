"""Pictures for clients: labelled with where they come from, in the format asked for."""

import asyncio
import io
import json
from binascii import b2a_base64
from dataclasses import dataclass

from contracts.errors import RoostError
from serving.gateway.provenance import Facts, mark_png

FORMATS = ("png", "webp", "jpeg")
INLINE_BYTES = 128 << 10
"""Smaller pictures are labelled on the event loop: a thread costs more than the work."""
DESCRIPTION, SOFTWARE = 0x010E, 0x0131


class NoPicture(RoostError):
    """What a worker gave as a picture can't be read as one."""

    code = "attempt.no-picture"


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """How a client wants its pictures: ``compression`` is the quality (0 to 100) of WebP and JPEG."""

    kind: str = "png"
    compression: int = 90


PNG = PictureFormat()


def label_png(png: bytes, facts: Facts) -> bytes:
    """Return a small PNG labelled, in base64."""
    return b2a_base64(mark_png(png, facts), newline=False)


async def finish_picture(png: bytes, facts: Facts, wanted: PictureFormat) -> bytes:
    """Return a worker's PNG as the client wants it, labelled, in base64.

    Raises:
        NoPicture: when it must be converted and is no picture.
    """
    if wanted.kind == "png" and len(png) <= INLINE_BYTES:
        return label_png(png, facts)
    return await asyncio.to_thread(lambda: b2a_base64(_finish(png, facts, wanted), newline=False))


def _finish(png: bytes, facts: Facts, wanted: PictureFormat) -> bytes:
    return mark_png(png, facts) if wanted.kind == "png" else convert(png, facts, wanted)


def convert(png: bytes, facts: Facts, wanted: PictureFormat) -> bytes:
    """Return a PNG as WebP or JPEG, the facts as JSON in EXIF's image description."""
    from PIL import Image, UnidentifiedImageError

    exif = Image.Exif()
    exif[DESCRIPTION] = json.dumps(facts, sort_keys=True)
    exif[SOFTWARE] = "roost"
    file = io.BytesIO()
    try:
        with Image.open(io.BytesIO(png)) as picture:
            pixels = picture.convert("RGB") if wanted.kind == "jpeg" else picture
            pixels.save(file, format=wanted.kind, quality=wanted.compression, exif=exif)
    except (UnidentifiedImageError, OSError) as error:
        raise NoPicture(f"the worker's answer is no picture: {error}", hint="see the worker's log") from None
    return file.getvalue()
