"""The heavy libraries, imported late and without their progress bars and advice."""

import os
import warnings
from typing import Any


def load_transformers() -> Any:
    """Import the `transformers` module, which tells errors only."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def load_diffusers() -> Any:
    """Import the `diffusers` module, which tells errors only."""
    load_transformers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import diffusers
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    return diffusers
