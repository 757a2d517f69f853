"""What tests of the running service share: callers, programs, loads, whole houses."""
