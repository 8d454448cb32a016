"""Adapts a network to the frames whose masks were given, before it segments the rest of their video."""
