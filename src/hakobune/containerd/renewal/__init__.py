"""Upgrade in place below the manager: its zygote and its shims go on as the code that the manager itself is."""
