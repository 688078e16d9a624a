"""Where data comes from: every module here holds the sources of one kind, found by their class names."""
