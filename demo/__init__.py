"""The demo: what its pictures show, the models trained on them, the judge that reads them, the hub that
serves them.
"""
