"""What stands before every route of the users' port: measuring, authentication, a limit on bodies. Plain
ASGI."""
