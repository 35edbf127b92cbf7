"""Pictures as files: encoding with their parameters inside, and saving. Knows no HTTP and no model."""
