"""A network learns from the frames whose masks were given, before it segments the rest of their video."""
