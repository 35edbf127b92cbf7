"""ModelBundle → volume claim, fetch Jobs, status."""
