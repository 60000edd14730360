"""The embedded log's bounded topics: each transaction that adds forgets as much.

Never the newest record: the offset that comes next follows from it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import apsw

if TYPE_CHECKING:
    from hookline.log.sqlite_store import Table

# What a row costs besides key and value: its numbers, and its share of the page.
ROW_BYTES: Final = 64
COLUMNS: Final = 5
Held = Mapping["Table", int]


class BoundedTables:
    """How many bytes each partition of a bounded topic holds; the writer's own."""

    def __init__(self) -> None:
        self._held: dict[Table, int] = {}

    def load(
        self, connection: apsw.Connection, tables: Sequence["Table"], now_ms: int
    ) -> None:
        """Count what is there, and forget what has become too old."""
        for table in tables:
            if table.topic.bound is not None:
                [(held,)] = connection.execute(
                    f"SELECT total(length(key) + coalesce(length(value), 0) "  # noqa: S608
                    f"+ {ROW_BYTES}) FROM {table.name}"
                )
                self._held[table] = int(held)
                self.settle(self.forget(connection, {table: ()}, now_ms))

    def forget(
        self,
        connection: apsw.Connection,
        added: Mapping["Table", Sequence[Any]],
        now_ms: int,
    ) -> Held:
        """Make room for rows, each a flat list of columns; `settle` once it is durable."""
        return {
            table: self._forget(connection, table, _bytes(values), now_ms)
            for table, values in added.items()
            if table.topic.bound is not None
        }

    def settle(self, held: Held) -> None:
        """The transaction has ended well."""
        self._held.update(held)

    def _forget(
        self, connection: apsw.Connection, table: "Table", added: int, now_ms: int
    ) -> int:
        bound = table.topic.bound
        held = self._held[table] + added
        if bound is None:
            return held
        oldest_ms = now_ms - bound.most_age_s * 1000
        before = None
        for offset, at_ms, size in connection.execute(
            f"SELECT offset, at_ms, length(key) + coalesce(length(value), 0) "  # noqa: S608
            f"+ {ROW_BYTES} FROM {table.name} WHERE offset < "
            f"(SELECT max(offset) FROM {table.name}) ORDER BY offset"
        ):
            if held <= bound.most_bytes and at_ms >= oldest_ms:
                break
            held -= size
            before = offset + 1
        if before is not None:
            connection.execute(f"DELETE FROM {table.name} WHERE offset < ?", (before,))  # noqa: S608
        return held


def _bytes(values: Sequence[Any]) -> int:
    keys, contents = values[2::COLUMNS], values[4::COLUMNS]
    return sum(
        len(key) + len(content or b"") + ROW_BYTES
        for key, content in zip(keys, contents, strict=True)
    )
