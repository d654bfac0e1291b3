"""What people answer: the links that letters carry, what may be done with one, dead mailboxes, a calendar's address."""
