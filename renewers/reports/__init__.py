"""What an owner reads: what needs somebody, as a mail, a calendar, a table and pictures.

`digest` gathers what is true, `compose` makes a message of it; `rows` and `words` are what both speak of.
"""
