"""Describes a module twice."""

import dataclasses

import plain


def plugin():
    whole = plain.made()
    return dataclasses.replace(whole, modules=[*whole.modules, *whole.modules])
