"""The service: an HTTP API over the journal, the runners behind it, and a dashboard."""

STARTED_BY = "lokki serve"
"""What is recorded of who has started a run."""
