"""The strange loop: learn what streams do, adjust how they are watched, prove it first."""
