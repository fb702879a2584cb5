"""Invisible watermarks: one payload for all, several codecs behind one port."""
