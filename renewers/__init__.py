"""The floor that reaches out: inventory, lead time, renewal, delivery, events. README has the rooms and the words."""
