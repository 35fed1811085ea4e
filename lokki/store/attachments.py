"""What a run's steps have shown, in the journal."""

from __future__ import annotations

from lokki.errors import AttachmentNotFound
from lokki.model.attachment import PREVIEW, Attachment, Shown, preview_name, unpacked
from lokki.model.times import utc
from lokki.store.connection import Reader
from lokki.store.sql import Connection
from lokki.store.storable import storable

_COLUMNS = "run, name, step, item, attempt, at, title, type, size, content"
_SHAPE = "name, step, item, attempt, at, title, type, size"


def insert(connection: Connection, run_id: str, shown: Shown) -> None:
    """Record something shown, in place of what the same attempt had shown before it ran again."""
    connection.execute(
        f"INSERT INTO attachments ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        " ON CONFLICT (run, name) DO UPDATE SET at = excluded.at, title = excluded.title,"
        " type = excluded.type, size = excluded.size, content = excluded.content",
        (
            *storable((run_id, shown.name, shown.step, shown.item, shown.attempt, shown.at)),
            *storable((shown.title, shown.type)),
            shown.size,
            shown.packed,
        ),
    )


class Attachments:
    """Queries about what is shown; errors are JournalErrors."""

    def __init__(self, read: Reader) -> None:
        self._read = read

    def total(self, run_id: str) -> tuple[int, int]:
        """How much a run has shown: the number of values, and their bytes in the journal."""
        ((number, size),) = self._read(
            "SELECT count(*), coalesce(sum(length(content)), 0) FROM attachments"
            " WHERE run = ? AND type <> ?",
            (run_id, PREVIEW),
        )
        return int(number), int(size)

    def page(
        self,
        run_id: str,
        *,
        step: str | None = None,
        item: int | None = None,
        after: str | None = None,
        limit: int,
    ) -> list[Attachment]:
        """The first after the one with a name, of a step and an item; in the order shown."""
        wanted = [("step", step), ("item", item)]
        given = [(name, value) for name, value in wanted if value is not None]
        condition = "".join(f" AND {name} = ?" for name, _ in given)
        rows = self._read(
            f"SELECT {_SHAPE} FROM attachments WHERE run = ?{condition} AND type <> ?"  # noqa: S608
            " AND id > coalesce((SELECT id FROM attachments WHERE run = ? AND name = ?), 0)"
            " ORDER BY id LIMIT ?",
            (run_id, *(value for _, value in given), PREVIEW, run_id, after or "", limit),
        )
        return [_shape(*row) for row in rows]

    def content(self, run_id: str, name: str) -> tuple[Attachment, bytes]:
        """Something shown, with its content. Raises AttachmentNotFound."""
        rows = self._read(
            f"SELECT {_SHAPE}, content FROM attachments WHERE run = ? AND name = ?",  # noqa: S608
            (run_id, name),
        )
        if not rows:
            raise AttachmentNotFound(f"run {run_id} has shown nothing named {name!r}")
        *shape, content = rows[0]
        return _shape(*shape), unpacked(bytes(content))

    def preview(self, run_id: str, stage: str, item: int | None) -> bytes | None:
        """The beginning of a result, as JSON of a table; None without one."""
        rows = self._read(
            "SELECT content FROM attachments WHERE run = ? AND name = ?",
            (run_id, preview_name(stage, item)),
        )
        return unpacked(bytes(rows[0][0])) if rows else None


def _shape(
    name: str,
    step: str,
    item: int | None,
    attempt: int,
    at: float,
    title: str | None,
    kind: str,
    size: int,
) -> Attachment:
    return Attachment(
        name=name,
        step=step,
        item=item,
        attempt=attempt,
        at=utc(at),
        title=title,
        type=kind,
        size=size,
    )
