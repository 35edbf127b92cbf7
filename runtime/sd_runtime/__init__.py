"""The serving process of one SDInstance pod: HTTP doors in front, an evaluation-batched diffusion engine
behind.
"""

__version__ = "0.2.0"
