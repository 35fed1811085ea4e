"""What runs inside Lambda and Batch: one call of a step, or one item's, and few imports."""
