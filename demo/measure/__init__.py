"""Measures the shipped files: what plain diffusers makes of them, as the judge sees it. Writes scores,
sheets and cards.
"""
