"""A map with what the network knows of it: windows, features, pages, searches, saves."""
