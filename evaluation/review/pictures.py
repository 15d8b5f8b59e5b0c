"""Pictures as raters get them: nothing in the file tells where they come from; and bad ones made on purpose."""

import io

from contracts.errors import InvalidInput

PLANTED_CELLS = 6


def neutral_png(image: bytes, field: str) -> bytes:
    """Return the picture alone, as PNG: whatever else the file says (a version, a prompt) is dropped.

    Raises:
        InvalidInput: when it can't be decoded.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image)) as picture:
            plain = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{field}: can't be decoded ({type(error).__name__})", hint="give PNG or JPEG") from None
    return _png(plain)


def spoil(image: bytes) -> bytes:
    """Return a picture that nobody who looks can prefer: a few coarse cells of the original, upside down."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(image)) as picture:
        small = ImageOps.flip(picture.convert("RGB")).resize((PLANTED_CELLS, PLANTED_CELLS))
        return _png(small.resize(picture.size, Image.Resampling.NEAREST))


def _png(picture: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")  # type: ignore[attr-defined]
    return out.getvalue()
