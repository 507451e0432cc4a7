"""Benchmarks: each compares with a named reference that runs beside it in the same process."""
