"""Feedback: a user's opinion of an answer, by the request id that came with it."""

import orjson

from contracts.clock import Clock
from contracts.errors import InvalidInput, NotFound, Unavailable
from contracts.ids import VersionId
from contracts.redaction import redact
from contracts.wire.telemetry import Feedback
from serving.gateway.counting import Counter
from serving.gateway.dispatch import Dispatcher
from serving.gateway.exchange import Exchange
from serving.gateway.protocols.dialect import JSON
from serving.gateway.signals import Recall

LARGEST_BODY_BYTES = 16 << 10
LONGEST_REASON = 500
FIELDS = {"request_id", "rating", "reason"}


class FeedbackDesk:
    """``POST /v1/feedback``."""

    def __init__(self, dispatcher: Dispatcher, counter: Counter, recall: Recall, clock: Clock) -> None:
        self._dispatcher, self._counter, self._recall, self._clock = dispatcher, counter, recall, clock

    async def take(self, exchange: Exchange) -> None:
        """Keep an opinion for the next telemetry batch."""
        request_id, rating, reason = _read(await exchange.read_body(LARGEST_BODY_BYTES))
        answer = self._recall.find(request_id.partition(".")[0])
        if answer is None:
            raise NotFound(
                f"request_id: {request_id[:100]!r} is unknown or forgotten", hint="rate an answer soon after it came"
            )
        name, version, lane, user, prompt = answer
        service = self._dispatcher.services.get(name)
        redacted = service is None or service.routes.intake.redact
        feedback = Feedback(
            service=name,
            version=VersionId.parse(version),
            lane=lane,
            request_id=request_id,
            rating=rating,
            reason=(redact(reason).text if redacted else reason)[:LONGEST_REASON],
            at_s=self._clock.now_s(),
            user_key=self._recall.key(user) if user is not None else None,
            prompt_key=self._recall.key(prompt) if prompt is not None else None,
        )
        if not self._counter.keep_feedback(feedback):
            raise Unavailable("too much feedback at once", hint="send it again in a second")
        await exchange.respond(200, b'{"recorded":true}', JSON)


def _read(body: bytes) -> tuple[str, float, str]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}", hint='send {"request_id": ..., "rating": ...}') from None
    if not isinstance(document, dict):
        raise InvalidInput("the body is not a JSON object", hint='send {"request_id": ..., "rating": ...}')
    unknown = sorted(document.keys() - FIELDS)
    if unknown:
        raise InvalidInput(f"{unknown[0][:100]}: unknown field", hint=f"known fields: {', '.join(sorted(FIELDS))}")
    request_id, rating, reason = document.get("request_id"), document.get("rating"), document.get("reason", "")
    if not isinstance(request_id, str) or not 0 < len(request_id) <= 100:
        raise InvalidInput("request_id: must be the x-roost-request-id of an answer", hint="send it as text")
    if not isinstance(rating, int | float) or isinstance(rating, bool) or not 0 <= rating <= 1:
        raise InvalidInput("rating: must be a number from 0 (bad) to 1 (good)", hint="0, 0.5 and 1 are usual")
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON:
        raise InvalidInput(f"reason: must be text of at most {LONGEST_REASON} characters", hint="shorten it")
    return request_id, float(rating), reason
