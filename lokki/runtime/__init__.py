"""Runs inside Lambda and Batch: calls a step, or an item, with few imports."""
