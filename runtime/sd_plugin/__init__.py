"""Preprocessors and upscalers in containers of their own, and what they have in common: the contract they
keep, the server that keeps it for them, the supervisor above that, and the command that checks any plugin.

Knows nothing of the runtime that calls them, nor of Kubernetes.
"""

__version__ = "0.2.0"
