"""Pictures from the bytes of an output: decoded whole, or not at all."""

import io
import warnings

from PIL import Image, UnidentifiedImageError

from contracts.errors import InvalidInput


def decode(image_png: bytes) -> Image.Image:
    """Return the picture, every pixel of it decoded.

    Raises:
        InvalidInput: when the bytes are no picture, are cut short, or unpack to more pixels than Pillow allows.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(image_png))
            picture.load()
    except UnidentifiedImageError:
        raise InvalidInput("the picture can't be decoded: its bytes are no picture") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInput(f"the picture can't be decoded: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidInput(f"the picture is too large: {error}") from None
    return picture
