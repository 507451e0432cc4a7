"""How often a search finds the right thing, and how often it says that a thing is not there."""
