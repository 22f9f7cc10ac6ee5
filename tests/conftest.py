"""What every test needs: Ctrl-C to mean Ctrl-C."""

import signal

# A shell ignores SIGINT for jobs in the background, and so would everything that the tests start from there.
signal.signal(signal.SIGINT, signal.default_int_handler)
