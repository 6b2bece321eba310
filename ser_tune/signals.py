"""Which signals have come that shall end this process: command.py notes them at once, whatever the main thread does."""

received: list[int] = []
