"""What every room stands on: the exception tree, argument checks, the clock, the processor's level.

Private: users meet these through the packages above.
"""
