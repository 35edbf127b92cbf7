"""Real weights for annotators, converted from what Python packages ship."""
