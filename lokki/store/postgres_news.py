"""What PostgreSQL tells without being asked, of whatever a process on any host has written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import psycopg
from psycopg import sql

from lokki.postgres_url import PostgresUrl
from lokki.store.postgres import parameters

QUEUED, WANTED = "queued", "wanted"
"""That runs were queued, and that something is wanted of runs that go on."""
_AGAIN_SECONDS = 1.0


def work(place: PostgresUrl) -> AsyncGenerator[str, None]:
    """`QUEUED` or `WANTED`, once for each transaction; an empty text when it begins to hear them.

    The connection does nothing else; when it is lost, another one takes its place, and what
    happens meanwhile is not told: whoever waits looks now and then.
    """
    return _told(place, "")


def changes(place: PostgresUrl) -> AsyncGenerator[str, None]:
    """The same for every transaction that has written, and an empty text for each."""
    return _told(place, "_changed")


async def _told(place: PostgresUrl, suffix: str) -> AsyncGenerator[str, None]:
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                parameters(place), autocommit=True
            ) as connection:
                found = await connection.execute(
                    "SELECT 'lokki_' || 'lokki'::regclass::oid || %s", (suffix,)
                )
                ((channel,),) = await found.fetchall()
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                yield ""
                async for notice in connection.notifies():
                    yield notice.payload
        except psycopg.Error:
            await asyncio.sleep(_AGAIN_SECONDS)
