"""What everybody says who changes something: who they are, and why."""

from contracts.errors import InvalidInput


def require_words(actor: str, reason: str) -> None:
    """Refuse a change that nobody asks for, or without a reason.

    Raises:
        InvalidInput: naming which of the two is missing.
    """
    for name, text in (("actor", actor), ("reason", reason)):
        if not text.strip():
            raise InvalidInput(f"{name}: is empty", hint="say who asks and why; it is recorded")
