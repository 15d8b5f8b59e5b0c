"""The review page: two pictures and five keys; works without script, says nothing of versions or results."""

from html import escape

from controlplane.store.reviews import Shown
from evaluation.review.items import REASONS, Kind

STYLE = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:1rem auto;padding:0 1rem}
.pair{display:flex;gap:1rem;flex-wrap:wrap}.pair figure{flex:1;margin:0;text-align:center;min-width:14rem}
img{width:100%;max-width:28rem;image-rendering:pixelated;border:1px solid #8888}
button{font:inherit;padding:.5rem 1rem;margin:.2rem}fieldset{border:0;padding:0;margin:.6rem 0}label{margin-right:1rem}
kbd{border:1px solid #8888;border-radius:4px;padding:0 .3rem}blockquote{font-size:1.1rem;margin:.6rem 0}
"""

KEYS = """
'use strict';
document.addEventListener('keydown', function (event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target instanceof HTMLInputElement && event.target.type === 'text') return;
  const button = document.querySelector('button[data-key="' + CSS.escape(event.key.toLowerCase()) + '"]');
  if (button) { event.preventDefault(); button.click(); }
});
"""

PAIR_KEYS = (("1", "left", "Left is better"), ("2", "right", "Right is better"), ("0", "tie", "Tie"))
FLAGGED_KEYS = (("1", "left", "It is all right"), ("2", "right", "It is not"))
CANNOT = ("x", "cannot", "Can't judge")


def render_entry(message: str = "") -> str:
    """Return the page that asks who judges."""
    said = f"<p role='alert'>{escape(message)}</p>" if message else ""
    return _page(
        "Review",
        f"{said}<form method='post' action='/enter'><label>Your name <input name='rater' required maxlength='60' "
        "autofocus autocomplete='username'></label><button>Begin</button></form>",
    )


def render_task(shown: Shown, judged: int) -> str:
    """Return the page of one item; which version is where is nowhere on it."""
    item = shown.item
    pair = item.kind is Kind.PAIR
    sides = ("left", "right") if pair else ("left",)
    figures = "".join(
        f"<figure><img alt='{side} picture' src='/picture/{escape(item.item_id, quote=True)}/{side}'>"
        f"<figcaption>{side.capitalize() if pair else 'Flagged'}</figcaption></figure>"
        for side in sides
    )
    keys = (*(PAIR_KEYS if pair else FLAGGED_KEYS), CANNOT)
    buttons = "".join(
        f"<button name='choice' value='{value}' data-key='{key}' accesskey='{key}'><kbd>{key}</kbd> {label}</button>"
        for key, value, label in keys
    )
    reasons = "".join(
        f"<label><input type='checkbox' name='reason' value='{reason}'> {reason}</label>" for reason in REASONS
    )
    asked = "Which picture fits the prompt better?" if pair else "Is this picture all right for its prompt?"
    flagged = f"<p>Flagged: {escape(item.reason)}</p>" if item.reason and not pair else ""
    return _page(
        "Review",
        f"<p>{asked}</p><blockquote>{escape(item.prompt)}</blockquote>{flagged}<div class='pair'>{figures}</div>"
        "<form method='post' action='/judge'>"
        f"<input type='hidden' name='item' value='{escape(item.item_id, quote=True)}'>"
        f"<fieldset><legend>What is wrong with the worse one (optional)</legend>{reasons}"
        "<label>Note <input type='text' name='note' maxlength='500'></label></fieldset>"
        f"<div>{buttons}</div></form><p>You have judged {judged}.</p>",
    )


def render_done(judged: int) -> str:
    """Return the page for when nothing is left to judge."""
    return _page("Review", f"<p>Nothing is left to judge. You have judged {judged}. Thank you.</p>")


def render_problem(message: str, hint: str) -> str:
    """Return an error as a page."""
    return _page("Review", f"<p role='alert'>{escape(message)}</p><p>{escape(hint)}</p><p><a href='/'>Go on</a></p>")


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
        f"content='width=device-width,initial-scale=1'><title>{title}</title><link rel='stylesheet' href='/style.css'>"
        f"<script src='/keys.js' defer></script></head><body><main><h1>{title}</h1>{body}</main></body></html>"
    )
