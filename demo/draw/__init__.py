"""What the demo's pictures show, in words and in pixels. Knows nothing of networks."""
