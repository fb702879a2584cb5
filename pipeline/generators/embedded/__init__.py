"""The embedded family: small models that ship with the package and draw the licensed sprite world."""
