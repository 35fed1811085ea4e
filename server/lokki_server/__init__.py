"""The service: an HTTP API over the journal, the runners behind it, and a dashboard."""

STARTED_BY = "lokki serve"
"""What is recorded as the starter of a run."""
