"""The process hakod, policy: what Docker's words mean. One sub-room per noun, wired in `app`."""
