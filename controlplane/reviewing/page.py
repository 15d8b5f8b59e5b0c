"""The review page: two pictures and five keys; works without script, says nothing of versions or results."""

from html import escape

from controlplane.store.reviews import Shown
from evaluation.review.items import REASONS, Kind

STYLE = """
:root{color-scheme:light dark}
body.alone{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:1rem auto;padding:0 1rem}
.pair{display:flex;gap:1rem;flex-wrap:wrap}.pair figure{flex:1;margin:0;text-align:center;min-width:14rem}
.pair img{width:100%;max-width:28rem;image-rendering:pixelated;border:1px solid #8888}
.review button{font:inherit;padding:.5rem 1rem;margin:.2rem}.review fieldset{border:0;padding:0;margin:.6rem 0}
.review label{margin-right:1rem}.review kbd{border:1px solid #8888;border-radius:4px;padding:0 .3rem}
.review blockquote{font-size:1.1rem;margin:.6rem 0;overflow-wrap:anywhere}
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


def render_entry(base: str = "") -> str:
    """Return what asks who judges; ``base`` is the path below which the pages are."""
    return (
        f"<form method='post' action='{base}/enter'><label>Your name <input name='rater' required maxlength='60' "
        "autofocus autocomplete='username'></label><button>Begin</button></form>"
    )


def render_task(shown: Shown, judged: int, base: str = "") -> str:
    """Return one item; which version is where is nowhere in it."""
    item = shown.item
    pair = item.kind is Kind.PAIR
    sides = ("left", "right") if pair else ("left",)
    figures = "".join(
        f"<figure><img alt='{side} picture' src='{base}/picture/{escape(item.item_id, quote=True)}/{side}'>"
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
    return (
        f"<p>{asked}</p><blockquote>{escape(item.prompt)}</blockquote>{flagged}<div class='pair'>{figures}</div>"
        f"<form method='post' action='{base}/judge'>"
        f"<input type='hidden' name='item' value='{escape(item.item_id, quote=True)}'>"
        f"<fieldset><legend>What is wrong with the worse one (optional)</legend>{reasons}"
        "<label>Note <input type='text' name='note' maxlength='500'></label></fieldset>"
        f"<div>{buttons}</div></form><p>You have judged {judged}.</p>"
    )


def render_done(judged: int) -> str:
    """Return what is said when nothing is left to judge."""
    return f"<p>Nothing is left to judge. You have judged {judged}. Thank you.</p>"


def render_nothing() -> str:
    """Return what is said where nobody ever asked for a judgement."""
    return "<p>No pairs wait here to be judged.</p><p><code>roost review add FILE</code> puts some into the queue.</p>"


def render_problem(message: str, hint: str, base: str = "") -> str:
    """Return an error."""
    return f"<p role='alert'>{escape(message)}</p><p>{escape(hint)}</p><p><a href='{base}/'>Go on</a></p>"


def frame_alone(body: str, base: str = "") -> str:
    """Return a whole page of its own."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
        f"content='width=device-width,initial-scale=1'><title>Review</title>"
        f"<link rel='stylesheet' href='{base}/style.css'><script src='{base}/keys.js' defer></script></head>"
        f"<body class='alone'><main class='review'><h1>Review</h1>{body}</main></body></html>"
    )
