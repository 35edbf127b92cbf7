"""The fetcher: brings one model file onto a volume, whole and verified. Runs in the pods of Jobs.

It has no access to Kubernetes: what to fetch comes in the environment, what became of it goes out as a
verdict.
"""
