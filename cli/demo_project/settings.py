"""How the client talks to the server."""

TIMEOUT = 30
RETRIES = 0
VERIFY = True
