"""Pictures on the host: files and their parameters, sizes, masks, colours, saving. Knows no HTTP, no
model and no torch."""
