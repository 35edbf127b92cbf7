"""The operator: makes volumes, fetch Jobs, Deployments and Services of ModelBundles and SDInstances."""

__version__ = "0.1.0"
