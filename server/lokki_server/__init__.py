"""The service: an HTTP API over the journal, the runners behind it and a dashboard."""

STARTED_BY = "lokki serve"
"""Recorded as the starter of a run."""
