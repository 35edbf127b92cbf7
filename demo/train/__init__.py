"""Trains the demo's networks, each step resumable. Knows drawings and networks; nothing of file formats or
scores.
"""
