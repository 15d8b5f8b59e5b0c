"""What a prompt asks to be written: the words that it quotes (as MARIO-Eval reads prompts)."""

import re

MARKS = (("'", "'"), ('"', '"'), ("‘", "’"), ("“", "”"), ("„", "“"), ("«", "»"), ("「", "」"))
QUOTED = re.compile(
    "|".join(
        rf"(?<!\w){re.escape(left)}(?=\S)([^{re.escape(right)}]+?){re.escape(right)}(?!\w)" for left, right in MARKS[2:]
    )
    # Straight marks need care: don't and it's hold no quotation, 'don't panic' holds one.
    + r"|(?<!\w)'(?=\S)((?:[^']|(?<=\w)'(?=\w))+)'(?!\w)"
    + r'|(?<!\w)"(?=\S)([^"]+)"(?!\w)'
)


def find_asked(prompt: str) -> tuple[str, ...]:
    """Return the texts that stand in single or double quotes, in order; an apostrophe inside a word quotes nothing."""
    found = (next(group for group in match.groups() if group is not None) for match in QUOTED.finditer(prompt))
    return tuple(" ".join(text.split()) for text in found if any(sign.isalnum() for sign in text))
