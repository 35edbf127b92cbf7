"""The doors of the users' port: one module a surface, each route a guard and a call."""
