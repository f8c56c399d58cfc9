"""The programs, one thin module each."""
