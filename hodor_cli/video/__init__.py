"""Frames in (file, folder, camera, pipe) and videos out (H.264, the overlay)."""
