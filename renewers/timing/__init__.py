"""When: lead time as pure functions of time, what they come to for what is tracked, and the watch that looks."""
