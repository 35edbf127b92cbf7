"""SDInstance → Deployment, Service, status."""
