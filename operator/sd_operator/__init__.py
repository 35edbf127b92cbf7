"""The operator: makes volumes, fetch Jobs, Deployments and Services of ModelBundles and SDInstances."""

__version__ = "0.2.0"
