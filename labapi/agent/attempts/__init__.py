"""One try of a case: taken in, remembered, run, ended."""
