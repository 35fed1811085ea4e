"""Slices that the workers of a Dask cluster run."""
