"""The page that people look at, on port 7860: a client of the HTTP interface beside it, in Gradio.

Knows the interface's routes and words; nothing of models, jobs or devices.
"""
