"""Picture files: the one reader, the one listing of a folder, and the writer of label pictures."""
