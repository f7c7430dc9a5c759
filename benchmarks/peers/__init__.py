"""Other people's compression tools as themselves: each in an environment of its own, called by a script."""
