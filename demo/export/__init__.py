"""Writes trained networks into the file formats that Stable Diffusion's users have. Knows nothing of
training or scores.
"""
