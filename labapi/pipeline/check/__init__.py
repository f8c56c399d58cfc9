"""Everything that is wrong with a Paste file, found without building anything."""
