"""Reading frames (from files, folders, cameras and pipes) and writing videos (H.264, the overlay)."""
