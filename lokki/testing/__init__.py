"""Tests to run against your own stores: see ``lokki.testing.stores``, which needs pytest."""
