"""A plugin whose worker ends before it serves, each time."""

from sd_plugin.module import Plugin


def plugin() -> Plugin:
    raise RuntimeError("the weights of this plugin are on strike")
