"""From files to a version and back: what is let in, which number it gets, what is said of it later."""
