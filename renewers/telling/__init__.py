"""What happened and what is wrong, written down where it happened, and told to whoever wants to know."""
