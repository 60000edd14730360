"""webhook.send: calls another system's webhook; the answer becomes the message.

with:
    method    GET, POST (if nothing is said), PUT, PATCH or DELETE
    url       where to: http or https
    headers   names and values; those whose value is nothing are left out
    body      a value is sent as JSON, a string as text. Without it the message's own body
              is sent, with GET and DELETE none
    raw       true: the event's own bytes are passed on, with their type and coding
    attachment   the name of the attachment that is the body, with its content type
    attachments  "*" for all, or a list of names: sent as multipart/form-data, as `file`
              after the fields of the body, an object; or an object of field names and
              file names. Files of any size are streamed from where they are
    timeout   from connecting to the last byte, 30 s if nothing is said
    sign      how the receiver can tell that it was you:
              {type: standard, secret: "${secret:NAME}"} by Standard Webhooks, with
              `webhook-id` (the same in every attempt), `webhook-timestamp` and
              `webhook-signature`. A list of secrets signs with each, for rotation
              {type: hmac, secret, header: x-eio-signature, algorithm: sha256, sha512 or
              sha1, encoding: hex, base64 or base64url, prefix, template,
              timestamp_header, id_header}: as a trigger of Hookline verifies it. The
              template may name {body} {ts} {id} {url} {method} {query}

Also sent: `Idempotency-Key` (the same in every attempt), `traceparent`, `User-Agent`.

Any 2xx is success. The new message has the answer's status, its headers in lower case and
its body: JSON parsed, text as text, anything else as the attachment `payload.<ext>`
beside the body `{}`; without one it is null. An answer over 1 MiB fails the execution.

Retried: 408, 425, 429, 5xx, and where no answer came; not before the time in the answer's
`Retry-After` (at most an hour). Any other status fails the execution at once: 410 says
that the receiver does not want to be called any more, redirects are not followed.

Repeatable: receivers tell a repeat by `webhook-id`, the `id_header` or `Idempotency-Key`.
Specification: https://www.standardwebhooks.com. Its asymmetric signatures (`v1a`) are not
made, and {sorted_form} is not in templates.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from hookline.components import Effect, Resources, answers
from hookline.components.calls import CallParameters, request_for
from hookline.components.signing import Signature, with_body_at_hand
from hookline.event import Message
from hookline.http_client import origin


class WebhookSend:
    """Calls another system's webhook."""

    class Parameters(CallParameters):
        """The parameters of webhook.send."""

        sign: Signature | None = None

    effect: ClassVar = Effect.REPEATABLE

    def __init__(self, parameters: Parameters, resources: Resources) -> None:
        self._parameters = parameters
        self._http = resources.http

    async def run(self, message: Message) -> Sequence[Message]:
        """Make the call and pass its answer on."""
        parameters = self._parameters
        request = request_for(parameters, message)
        who = origin(request.url)
        if (sign := parameters.sign) is not None:
            request = await with_body_at_hand(request)
            signature = sign.headers(request, message, int(time.time()))
            request = replace(request, headers={**request.headers, **signature})
        response = await self._http.send(request)
        if not answers.is_success(response.status):
            raise answers.failure(who, response, self._secrets(message))
        return (answers.message_of(who, message, response),)

    def _secrets(self, message: Message) -> list[str]:
        parameters = self._parameters
        named = answers.secrets_of(parameters.url, parameters.headers, parameters.body)
        return named + (parameters.sign.secrets(message) if parameters.sign else [])
