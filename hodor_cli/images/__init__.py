"""Picture files: one reader, one folder listing, and label pictures out."""
