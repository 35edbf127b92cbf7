"""SDPlugin → status, from the SDInstances that use it."""
