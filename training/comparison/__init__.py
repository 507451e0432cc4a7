"""Many runs of the other commands as one measurement."""
