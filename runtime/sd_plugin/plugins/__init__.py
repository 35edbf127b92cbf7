"""The plugins of this project, a package each, with a function `plugin() -> Plugin`. None imports another."""
