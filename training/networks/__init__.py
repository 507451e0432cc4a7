"""U-Nets that can be shown a part of a cloud and asked for the rest."""
