"""Requests as jobs: admission, running through the engine, interruption. Knows no HTTP and no A1111 words."""
