"""Where runs are: this machine's journal, a server. Each place tells of them in the same shapes."""

LOCAL = "local"
"""What `--on` says of this machine's journal; a server is said by its URL."""
AWS = "aws"
"""What it says of the executions of flows that are deployed."""
