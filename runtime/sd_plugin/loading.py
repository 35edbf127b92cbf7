"""From a plugin's name on the command line to the plugin."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable

from pydantic import ValidationError

from sd_plugin import plugins, settings
from sd_plugin.errors import Invalid, InvalidParameter
from sd_plugin.module import Plugin


def known() -> list[str]:
    """The names of the plugins that are installed here."""
    return sorted(each.name for each in pkgutil.iter_modules(plugins.__path__))


def load(name: str, *, imported: Callable[[], None] = lambda: None) -> Plugin:
    """The plugin `sd_plugin.plugins.<name>`, or what `package.module:function` makes; called what the
    environment calls it. `imported` is called once all libraries are there, before anything is made.

    Raises `InvalidParameter` for a plugin that is not there, `Invalid` for one whose description breaks the
    contract."""
    place, _, function = name.partition(":")
    if not function and place not in known():
        raise InvalidParameter("plugin", name, [*known(), "package.module:function"])
    module = importlib.import_module(place if function else f"{plugins.__name__}.{place}")
    imported()
    made = getattr(module, function or "plugin")()
    if not isinstance(made, Plugin):
        raise InvalidParameter("plugin", name, "a function that returns a Plugin")
    made = dataclasses.replace(made, name=settings.own_name(made.name))
    # Once, before anybody asks: what breaks the contract must not serve.
    try:
        made.describe()
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"plugin: {name} breaks the contract: {at}: {first['msg']}") from error
    return made
