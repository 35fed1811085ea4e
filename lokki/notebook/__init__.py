"""What a notebook shows: runs in progress, recorded runs, tables."""
