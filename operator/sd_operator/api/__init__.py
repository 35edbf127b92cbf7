"""The kinds as Python types, the words of their conditions, and the CRDs generated from them."""
