"""What a model file is: its header, its type and family, its place on a volume, and the manifest of a volume.

Used by the fetcher, which writes volumes, and by the runtime, which reads them. Standard library only:
nothing here knows torch, Kubernetes or HTTP.
"""
