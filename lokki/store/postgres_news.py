"""What PostgreSQL tells without being asked: that runs were queued, by whichever host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import psycopg
from psycopg import sql

from lokki.postgres_url import PostgresUrl
from lokki.store.postgres import parameters

_AGAIN_SECONDS = 1.0


async def queued(place: PostgresUrl) -> AsyncGenerator[None, None]:
    """Yield once connected, and then whenever runs were queued, until it is closed.

    There is one notification for each transaction. The connection does nothing else; when it is
    lost, another one takes its place, and there is none for what was queued meanwhile: whoever
    waits looks now and then.
    """
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                parameters(place), autocommit=True
            ) as connection:
                found = await connection.execute("SELECT 'lokki_' || 'lokki'::regclass::oid")
                ((channel,),) = await found.fetchall()
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                yield
                async for _ in connection.notifies():
                    yield
        except psycopg.Error:
            await asyncio.sleep(_AGAIN_SECONDS)
