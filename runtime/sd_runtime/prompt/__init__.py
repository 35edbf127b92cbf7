"""Prompt text to conditioning vectors: grammar, chunks, encoding."""
