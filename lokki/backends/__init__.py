"""Where runs are: this machine's journal, a server, AWS. Each tells of them in the same types."""
