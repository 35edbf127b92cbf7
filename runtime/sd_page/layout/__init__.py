"""What the page looks like, one module a part: components, and which event leads to what.

What is done then, is in the modules above.
"""
