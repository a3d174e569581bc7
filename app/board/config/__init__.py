"""The configuration, in three tiers.

1. `boot`: what the process must be told to start at all, from environment variables, checked at the door.
2. `environments`: constants, one file an environment, in git; the variable ENVIRONMENT chooses the file.
3. `remote`: what others decide (outputs of stacks, parameters), asked for when it is first used.
"""
