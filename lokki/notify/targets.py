"""Where notices go: webhooks, Slack, mail and SNS."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from lokki.config import Notify
from lokki.errors import ConfigError
from lokki.model.base import fields_of
from lokki.notify.notice import Notice, Refused

Send = Callable[[Notice], None]
"""Sends a notice, or raises Refused, or OSError where another try may succeed."""

_SECONDS = 10.0
"""How long a server may take to answer."""
_TRY_AGAIN = (408, 425, 429)
_TOPIC = re.compile(r"arn:[\w-]+:sns:([a-z0-9-]+):\d{12}:[\w-]+")
_SMTP_PORTS = {"smtp": 25, "smtps": 465}


def targets(config: Notify, endpoint: str | None) -> Mapping[str, Send]:
    """The configured targets by name; ``endpoint`` is the URL of an emulator of AWS.

    Raises ConfigError.
    """
    found: dict[str, Send] = {}
    if config.webhook is not None:
        found["webhook"] = _posting("webhook", config.webhook, Notice.fields)
    if config.slack is not None:
        found["slack"] = _posting("slack", config.slack, _slack)
    if config.email is not None:
        found["email"] = _mailing(config.email, config.smtp, config.sender)
    if config.sns is not None:
        found["sns"] = _publishing(config.sns, endpoint)
    return found


# ---- HTTP --------------------------------------------------------------------------------------


def _slack(notice: Notice) -> dict[str, object]:
    """https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""
    return {"text": notice.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}


def _posting(name: str, url: str, body: Callable[[Notice], Mapping[str, object]]) -> Send:
    parts = _url(name, url, ("http", "https"), "https://hooks.example.com/lokki")
    if not parts.hostname:
        raise ConfigError(f"notify.{name} has no host: write https://hooks.example.com/lokki, say")

    def send(notice: Notice) -> None:
        from http.client import HTTPConnection, HTTPException, HTTPSConnection

        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS)
        data = json.dumps(body(notice), default=fields_of).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "lokki"}
        try:
            connection.request("POST", _path(parts), data, headers)
            with connection.getresponse() as answer:
                status, said = answer.status, f"HTTP status {answer.status} {answer.reason}"
        except HTTPException as error:
            raise ConnectionError(f"no HTTP answer: {error!r}") from error
        finally:
            connection.close()
        if status >= 500 or status in _TRY_AGAIN:
            raise ConnectionError(said)
        if status >= 300:
            raise Refused(said)

    return send


def _path(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _url(name: str, url: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    """A URL's parts; messages do not show it, since it may be a secret."""
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in schemes and parts.port != 0:
            return parts
    raise ConfigError(f"notify.{name} is not a URL with {' or '.join(schemes)}: such as {example}")


# ---- mail --------------------------------------------------------------------------------------


def _mailing(addresses: str, server: str, sender: str | None) -> Send:
    receivers = [each.strip() for each in addresses.split(",") if each.strip()]
    for each in (*receivers, *([sender] if sender else [])):
        if not re.fullmatch(r"[^@\s<>,]+@[^@\s<>,]+", each):
            raise ConfigError(f"notify: '{each}' is not an e-mail address")
    parts = _url("smtp", server, ("smtp", "smtps"), "smtp://user:password@mail.example.com:587")

    def send(notice: Notice) -> None:
        from email.message import EmailMessage
        from smtplib import SMTPException, SMTPRecipientsRefused, SMTPResponseException

        message = EmailMessage()
        message["Subject"] = notice.title
        message["From"] = sender or f"lokki@{socket.getfqdn()}"
        message["To"] = ", ".join(receivers)
        message.set_content(notice.text + "\n")
        try:
            with _connected(parts) as connection:
                connection.send_message(message)
        except SMTPRecipientsRefused as error:
            raise Refused(f"all recipients were refused: {error.recipients}") from error
        except SMTPResponseException as error:
            said = f"the mail server answers {error.smtp_code} {error.smtp_error!r}"
            raise (Refused if error.smtp_code >= 500 else ConnectionError)(said) from error
        except SMTPException as error:
            raise Refused(str(error)) from error

    return send


def _connected(parts: SplitResult) -> Any:
    """A connection to the mail server, encrypted if possible; a password is only sent encrypted."""
    from smtplib import SMTP, SMTP_SSL

    host, port = parts.hostname or "localhost", parts.port or _SMTP_PORTS[parts.scheme]
    if parts.scheme == "smtps":
        connection: SMTP = SMTP_SSL(
            host, port, timeout=_SECONDS, context=ssl.create_default_context()
        )
    else:
        connection = SMTP(host, port, timeout=_SECONDS)
    try:
        connection.ehlo()
        encrypted = parts.scheme == "smtps"
        if not encrypted and connection.has_extn("starttls"):
            connection.starttls(context=ssl.create_default_context())
            connection.ehlo()
            encrypted = True
        if parts.username is not None:
            if not encrypted:
                raise Refused("the mail server offers no STARTTLS: the password is not sent")
            connection.login(unquote(parts.username), unquote(parts.password or ""))
    except BaseException:
        connection.close()
        raise
    return connection


# ---- SNS ---------------------------------------------------------------------------------------


def _publishing(topic: str, endpoint: str | None) -> Send:
    found = _TOPIC.fullmatch(topic)
    if found is None:
        raise ConfigError(
            f"notify.sns: '{topic}' is not the ARN of a topic, such as "
            "arn:aws:sns:<region>:<account>:<name>"
        )

    def send(notice: Notice) -> None:
        import asyncio

        try:
            asyncio.run(_publish(topic, found[1], endpoint, notice))
        except ModuleNotFoundError as error:
            raise Refused(f"{error}; SNS needs: pip install 'lokki-engine[aws]'") from error

    return send


async def _publish(topic: str, region: str, endpoint: str | None, notice: Notice) -> None:
    from aiobotocore.session import get_session
    from botocore.exceptions import BotoCoreError, ClientError

    client: Any = get_session().create_client("sns", region_name=region, endpoint_url=endpoint)
    try:
        async with client as sns:
            await sns.publish(TopicArn=topic, Subject=_subject(notice.title), Message=notice.text)
    except (BotoCoreError, ClientError) as error:  # the client itself has tried again
        raise Refused(str(error)) from error


def _subject(title: str) -> str:
    """A subject as SNS takes it: up to 100 characters of ASCII.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    return title.encode("ascii", "replace").decode()[:100]
