"""The service: an HTTP API over the journal, the runners behind it, and a dashboard."""
