"""Where runs are: this machine's journal, a server, AWS. All describe them with the same types."""
