"""Where runs are: this machine's journal, a server, AWS. All return the same types."""
