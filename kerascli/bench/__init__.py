"""Speed of one spec on every engine that is installed, side by side."""
