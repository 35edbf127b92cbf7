"""What A1111's words mean here: request fields, names, options, infotext. Data and pure functions, no HTTP.

Written from the documented behaviour of the interface; nothing is taken from its code.
"""
