"""What changes a checkpoint's networks for single rows of a batch: LoRA, hypernetworks, textual inversion.

Importing this package does not import torch.
"""
