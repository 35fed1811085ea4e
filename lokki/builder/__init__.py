"""From a flow's graph and its configuration to what AWS runs: documents and packages."""
