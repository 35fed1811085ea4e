"""Looks into a journal with SQL alone, as another program would."""

EVERY_ITEM = (
    "(WITH RECURSIVE inside (id, others) AS (SELECT id, count - 1 FROM spans UNION ALL"
    " SELECT id + 1, others - 1 FROM inside WHERE others > 0)"
    " SELECT id, 'succeeded' AS status, 1 AS attempts FROM inside"
    " UNION ALL SELECT id, status, attempts FROM items) AS items"
)
"""Every item with a record, as a table: those in spans, and those with rows of their own."""
