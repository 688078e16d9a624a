"""Specs to start from, for `kerascli init`: the first comment of each file says what it is."""
