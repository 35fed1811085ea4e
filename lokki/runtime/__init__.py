"""Runs inside Lambda and Batch: the call of a step, or of an item, with few imports."""
