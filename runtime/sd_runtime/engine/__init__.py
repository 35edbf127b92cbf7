"""The device thread and what it batches."""
