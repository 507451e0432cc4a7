"""Turns recordings, public data and synthetic rooms into the layout that training reads."""
