"""Compiles a flow's graph and configuration into what AWS runs: documents and packages."""
